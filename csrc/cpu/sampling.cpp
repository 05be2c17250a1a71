// Gumbel-max over what top_k and top_p leave. Both filters keep a prefix of the tokens in rank order
// (value descending, id ascending), so each is one cut, found by radix selection on the bits of the
// logits: exact, independent of any order of summation, and without sorting the vocabulary.
#include "cpu/sampling.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "core/float_order.h"
#include "cpu/multiversion.h"

namespace unmask::cpu {
namespace {

constexpr float kLog2E = 1.44269502f;

// The last token, in rank order, that is kept.
struct Cut {
  float logit = kNever;
  int64_t id = -1;

  bool keeps(float value, int64_t token) const {
    return value > logit || (value == logit && token <= id);
  }
};

// exp(factor * (x - max)) for a whole group; 0 far below the smallest mass that counts.
UNMASK_MULTIVERSION void exp_group(const Group& group, float max, float factor_log2, Group& out) {
#pragma omp simd
  for (int v = 0; v < kGroup; ++v) {
    const float t = exact::mul(exact::add(group.logit[v], -max), factor_log2);
    out.logit[v] = t > -126.0f ? exact::exp2(t > -126.0f ? t : -126.0f) : 0.0f;
  }
}

// What a token weighs in a cut, as an integer, so that no order of summation matters.
struct CountWeight {
  static void prepare(const Group& group, Group& out) { out = group; }
  static uint64_t of(float) { return 1; }
  static bool negligible(float) { return false; }
};

// Probability times 2^42, unnormalised: 2^20 tokens cannot overflow, and what falls below adds up
// to less than 2^-22 of the whole.
struct MassWeight {
  float max;
  float factor_log2;

  void prepare(const Group& group, Group& out) const { exp_group(group, max, factor_log2, out); }
  static uint64_t of(float e) { return static_cast<uint64_t>(static_cast<int64_t>(e * 0x1p42f)); }
  bool negligible(float logit) const { return (logit - max) * factor_log2 < -64.0f; }
};

// Calls visit(token, logit, weight) for the kept tokens with a logit of at least `lowest`.
template <class Weight, class Visit>
void visit_kept(const DrawArgs& args, const Cut& cut, const Weight& weight, float lowest,
                Visit visit) {
  Group logits, prepared;
  for (int64_t g = 0; g < args.row.groups(); ++g) {
    const float max = args.maxima[g];
    if (!(max >= lowest && max >= cut.logit && max > kNever) || weight.negligible(max)) continue;
    args.row.load(g, logits);
    weight.prepare(logits, prepared);
    for (int v = 0; v < kGroup; ++v) {
      const int64_t token = g * kGroup + v;
      const float logit = logits.logit[v];
      if (logit >= lowest && cut.keeps(logit, token))
        visit(token, logit, Weight::of(prepared.logit[v]));
    }
  }
}

// Shortens `cut` to the first token, in rank order, at which the running weight reaches
// target_of(total weight). Eight bits of the logit a pass; ties go to the lower id.
template <class Weight, class TargetOf>
Cut shorten(const DrawArgs& args, const Cut& cut, const Weight& weight, TargetOf target_of) {
  uint32_t prefix = 0;
  uint64_t missing = 0;
  for (int shift = 24; shift >= 0; shift -= 8) {
    uint64_t histogram[256] = {};
    const uint64_t wanted = uint64_t{prefix} >> (shift + 8);
    const float lowest = shift == 24 ? kNever : value_of_key(prefix);
    visit_kept(args, cut, weight, lowest, [&](int64_t, float logit, uint64_t mass) {
      const uint32_t key = order_key(logit);
      if (uint64_t{key} >> (shift + 8) != wanted) return;
      histogram[key >> shift & 255u] += mass;
    });
    if (shift == 24) {
      uint64_t total = 0;
      for (const uint64_t mass : histogram) total += mass;
      missing = target_of(total);
    }
    uint32_t bin = 255;
    while (bin > 0 && histogram[bin] < missing) missing -= histogram[bin--];
    prefix |= bin << shift;
  }

  // `missing` is what the tokens that tie at the boundary have to bring.
  Cut shorter{value_of_key(prefix), -1};
  visit_kept(args, cut, weight, shorter.logit, [&](int64_t token, float logit, uint64_t mass) {
    if (logit != shorter.logit || missing == 0) return;
    shorter.id = token;
    missing -= std::min(missing, mass);
  });
  return shorter;
}

// k groups hold k tokens at least as large as the k-th largest group maximum: nothing below it can
// be among the k best.
Cut bound_of_top_k(const DrawArgs& args, int64_t top_k) {
  const int64_t groups = args.row.groups();
  if (top_k > groups) return {};
  float sorted[kMaxGroups];
  std::copy_n(args.maxima, groups, sorted);
  std::nth_element(sorted, sorted + top_k - 1, sorted + groups, std::greater<float>());
  if (!(sorted[top_k - 1] > kNever)) return {};
  return {sorted[top_k - 1], std::numeric_limits<int64_t>::max()};
}

Cut cut_of(const DrawArgs& args, int64_t top_k, double top_p) {
  Cut cut;
  if (top_k > 0)
    cut = shorten(args, bound_of_top_k(args, top_k), CountWeight{}, [top_k](uint64_t total) {
      return std::min(total, static_cast<uint64_t>(top_k));
    });
  if (top_p < 1.0)
    cut = shorten(args, cut, MassWeight{args.max, exact::mul(args.factor, kLog2E)},
                  [top_p](uint64_t total) {
                    const double target = std::ceil(top_p * static_cast<double>(total));
                    return std::clamp<uint64_t>(static_cast<uint64_t>(target), 1, total);
                  });
  return cut;
}

// The scores of a group's kept tokens; -inf for the others.
UNMASK_MULTIVERSION void score_group(const Group& group, int64_t first, float factor,
                                     const NoiseStream& stream, const Cut& cut, Group& out) {
  uint32_t words[kGroup];
  const auto counter = static_cast<uint32_t>(first / 4);
#pragma omp simd
  for (int block = 0; block < kGroup / 4; ++block) {
    const PhiloxBlock noise = noise_words(stream, counter + static_cast<uint32_t>(block));
    words[4 * block + 0] = noise.word[0];
    words[4 * block + 1] = noise.word[1];
    words[4 * block + 2] = noise.word[2];
    words[4 * block + 3] = noise.word[3];
  }
  const auto last_tie = static_cast<int>(std::clamp<int64_t>(cut.id - first, -1, kGroup));
  const float lowest = cut.logit;
#pragma omp simd
  for (int v = 0; v < kGroup; ++v) {
    const float logit = group.logit[v];
    const float score = gumbel_score(logit, factor, words[v]);
    out.logit[v] = (logit > lowest) | ((logit == lowest) & (v <= last_tie)) ? score : kNever;
  }
}

struct Best {
  float score;
  int64_t token;
};

void improve(const DrawArgs& args, const Cut& cut, int64_t group, Best& best) {
  Group logits, scores;
  args.row.load(group, logits);
  score_group(logits, group * kGroup, args.factor, args.stream, cut, scores);
  const float score = largest(scores);
  if (!(score > kNever) || score < best.score) return;
  const int64_t token =
      group * kGroup + (std::find(scores.logit, scores.logit + kGroup, score) - scores.logit);
  if (score > best.score || token < best.token) best = {score, token};
}

}  // namespace

int64_t draw_token(const DrawArgs& args, int64_t top_k, double top_p) {
  // No noise exceeds -log(2^-33) = 22.9, so a group whose maximum is further behind cannot win;
  // starting with the most probable one lets a peaked distribution skip nearly all.
  constexpr float kMostNoise = 23.0f;
  const Cut cut = cut_of(args, top_k, top_p);
  const int64_t likely = args.most_probable / kGroup;
  Best best{kNever, args.most_probable};
  improve(args, cut, likely, best);
  for (int64_t g = 0; g < args.row.groups(); ++g) {
    const float max = args.maxima[g];
    if (g == likely || !(max > kNever) || max < cut.logit) continue;
    if (max * args.factor + kMostNoise >= best.score) improve(args, cut, g, best);
  }
  return best.token;
}

}  // namespace unmask::cpu
