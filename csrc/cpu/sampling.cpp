// Gumbel-max over what top_k and top_p leave. Both filters keep a prefix of the tokens in rank order
// (value descending, id ascending), so each is one cut, found by radix selection on the bits of the
// logits: exact, independent of any order of summation, and without sorting the vocabulary.
#include "cpu/sampling.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "core/float_order.h"
#include "core/token_mass.h"
#include "cpu/multiversion.h"

namespace unmask::cpu {
namespace {

// The last token, in rank order, that is kept.
struct Cut {
  float logit = kNever;
  int64_t id = -1;

  // Of the group that starts at token `first`, the last one kept among those that equal `logit`.
  int last_tie(int64_t first) const {
    return static_cast<int>(std::clamp<int64_t>(id - first, -1, kGroup));
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

// The order keys of a group's tokens; 0, which is below every usable logit, for those cut away.
UNMASK_MULTIVERSION void kept_keys(const Group& group, int64_t first, const Cut& cut,
                                   uint32_t (&keys)[kGroup]) {
  const int last_tie = cut.last_tie(first);
  const float lowest = cut.logit;
#pragma omp simd
  for (int v = 0; v < kGroup; ++v) {
    const float logit = group.logit[v];
    const bool kept = (logit > lowest) | ((logit == lowest) & (v <= last_tie));
    keys[v] = kept ? order_key(logit) : 0u;
  }
}

// What a token weighs in a cut, as an integer, so that no order of summation matters.
struct CountWeight {
  static bool negligible(float) { return false; }
  static void prepare(const Group&, Group&) {}
  static uint64_t of(const Group&, int) { return 1; }
};

// TokenMass, many at a time.
struct MassWeight {
  float max;
  float factor_log2;

  explicit MassWeight(const TokenMass& mass) : max(mass.max), factor_log2(mass.factor_log2) {}

  bool negligible(float logit) const { return (logit - max) * factor_log2 < -64.0f; }
  void prepare(const Group& group, Group& out) const { exp_group(group, max, factor_log2, out); }
  static uint64_t of(const Group& prepared, int v) {
    return TokenMass::of_power(prepared.logit[v]);
  }
};

// Calls visit(token, key, weight) for the kept tokens with a key in [low, high], ids ascending.
template <class Weight, class Visit>
void visit_kept(const DrawArgs& args, const Cut& cut, const Weight& weight, uint32_t low,
                uint32_t high, Visit visit) {
  Group group, prepared;
  uint32_t keys[kGroup];
  int16_t hits[kGroup];
  for (int64_t g = 0; g < args.row.groups(); ++g) {
    const float max = args.maxima[g];
    if (!(max > kNever) || order_key(max) < low || weight.negligible(max)) continue;
    args.row.load(g, group);
    kept_keys(group, g * kGroup, cut, keys);
    weight.prepare(group, prepared);
    int count = 0;
    for (int v = 0; v < kGroup; ++v) {  // which of them hit is random: no branch to mispredict
      hits[count] = static_cast<int16_t>(v);
      count += (keys[v] >= low) & (keys[v] <= high);
    }
    for (int hit = 0; hit < count; ++hit) {
      const int v = hits[hit];
      visit(g * kGroup + v, keys[v], Weight::of(prepared, v));
    }
  }
}

// Shortens `cut` to the first token, in rank order, at which the running weight reaches
// target_of(total weight). Eleven bits of the key a pass; ties go to the lower id.
template <class Weight, class TargetOf>
Cut shorten(const DrawArgs& args, const Cut& cut, const Weight& weight, TargetOf target_of) {
  constexpr int kBins = 2048;
  uint32_t low = order_key(cut.logit), high = ~0u;
  uint64_t missing = 0;
  for (const int shift : {21, 10, 0}) {
    uint64_t histogram[kBins] = {}, total = 0;
    visit_kept(args, cut, weight, low, high, [&](int64_t, uint32_t key, uint64_t mass) {
      histogram[key >> shift & (kBins - 1)] += mass;
      total += mass;
    });
    if (missing == 0) missing = target_of(total);
    uint32_t bin = high >> shift & (kBins - 1);
    while (bin > 0 && histogram[bin] < missing) missing -= histogram[bin--];
    high = (((high >> shift) & ~(kBins - 1u)) | bin) << shift | ((1u << shift) - 1u);
    low = high >> shift << shift;
  }

  // `missing` is what the tokens that tie at the boundary have to bring.
  Cut shorter{value_of_key(low), -1};
  visit_kept(args, cut, weight, low, high, [&](int64_t token, uint32_t, uint64_t mass) {
    if (missing == 0) return;
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
    cut = shorten(args, cut, MassWeight(TokenMass(args.max, args.factor)), [top_p](uint64_t total) {
      const double target = std::ceil(top_p * static_cast<double>(total));
      return std::clamp<uint64_t>(static_cast<uint64_t>(target), 1, total);
    });
  return cut;
}

// The noise words of a group.
UNMASK_MULTIVERSION void words_of_group(const NoiseStream& stream, int64_t first,
                                        uint32_t (&words)[kGroup]) {
  const auto counter = static_cast<uint32_t>(first / 4);
#pragma omp simd
  for (int block = 0; block < kGroup / 4; ++block) {
    const PhiloxBlock noise = noise_words(stream, counter + static_cast<uint32_t>(block));
    words[4 * block + 0] = noise.word[0];
    words[4 * block + 1] = noise.word[1];
    words[4 * block + 2] = noise.word[2];
    words[4 * block + 3] = noise.word[3];
  }
}

UNMASK_MULTIVERSION bool any_at_most(const uint32_t* words, int count, uint32_t limit) {
  int any = 0;
#pragma omp simd reduction(| : any)
  for (int v = 0; v < count; ++v) any |= words[v] <= limit;
  return any != 0;
}

// The kept token of the highest score so far; ties to the lower id.
class Contest {
 public:
  Contest(const DrawArgs& args, const Cut& cut)
      : args_(args), cut_(cut), token_(args.most_probable) {}

  void enter(int64_t group) {
    const float max = args_.maxima[group];
    const int64_t limit = max > kNever && max >= cut_.logit ? largest_word(max) : -1;
    if (limit < 0) return;
    constexpr int kPart = 64;
    const int64_t first = group * kGroup;
    const int last_tie = cut_.last_tie(first);
    args_.row.load(group, logits_);
    words_of_group(args_.stream, first, words_);
    for (int part = 0; part < kGroup; part += kPart) {
      if (!any_at_most(words_ + part, kPart, static_cast<uint32_t>(limit))) continue;
      for (int v = part; v < part + kPart; ++v) {
        const float logit = logits_.logit[v];
        const bool kept = logit > cut_.logit || (logit == cut_.logit && v <= last_tie);
        if (kept && words_[v] <= limit) improve(first + v, logit, words_[v]);
      }
    }
  }

  int64_t winner() const { return token_; }

 private:
  // The noise of word w is at most -log((w + 1/2) / 2^32). So a token of a group whose largest logit
  // is `max` can only win with a word up to this; -1: none can. Most tokens then need no logarithm.
  int64_t largest_word(float max) const {
    constexpr double kWords = 0x1p32;
    const double mean = double{max} * args_.factor;
    const double slack = 1e-4 + 1e-6 * (std::abs(mean) + std::abs(score_));  // of float scores
    const double limit = kWords * std::exp(mean - score_ + slack);
    return limit < kWords ? static_cast<int64_t>(limit + 0.5) - 1 : 0xffffffff;
  }

  void improve(int64_t token, float logit, uint32_t word) {
    const float score = gumbel_score(logit, args_.factor, word);
    if (!(score > score_ || (score == score_ && token < token_ && score > kNever))) return;
    score_ = score;
    token_ = token;
  }

  const DrawArgs& args_;
  const Cut& cut_;
  float score_ = kNever;
  int64_t token_;
  Group logits_;
  uint32_t words_[kGroup];
};

}  // namespace

int64_t draw_token(const DrawArgs& args, int64_t top_k, double top_p) {
  const Cut cut = cut_of(args, top_k, top_p);
  const int64_t likely = args.most_probable / kGroup;
  Contest contest(args, cut);
  contest.enter(likely);  // first, because a high score spares the others most of their work
  for (int64_t g = 0; g < args.row.groups(); ++g)
    if (g != likely) contest.enter(g);
  return contest.winner();
}

}  // namespace unmask::cpu
