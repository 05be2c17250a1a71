#include "unmask/kl_divergence.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "cpu/logit_rows.h"
#include "cpu/parallel.h"
#include "cpu/vocabulary.h"

namespace unmask::cpu {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// One node's two rows, summed by groups in one read of both.
struct Comparison {
  const VocabularyRow& now;
  const VocabularyRow& before;
  double scale;
  float max_now = kNever, max_before = kNever;
  bool unbounded = false;
  GroupDivergence group[kMaxGroups];

  Comparison(const VocabularyRow& now, const VocabularyRow& before, float scale)
      : now(now), before(before), scale(scale) {
    Group x, y;
    for (int64_t g = 0; g < now.groups(); ++g) {
      now.load(g, x);
      before.load(g, y);
      group[g] = compare_groups(x, y, in_bits(scale));
      max_now = std::max(max_now, group[g].now.max);
      max_before = std::max(max_before, group[g].before.max);
      unbounded = unbounded || group[g].unbounded;
    }
  }

  // The sum of exp(scale * (y_v - max_before)).
  double sum_before() const {
    double sum = 0.0;
    for (int64_t g = 0; g < now.groups(); ++g)
      if (group[g].before.sum > 0.0f)
        sum += group[g].before.sum * std::exp(scale * (double{group[g].before.max} - max_before));
    return sum;
  }

  // sum p (log p - log q), where log p = scale * (x - max_now) - log(sum_now), and likewise q.
  float finite() const {
    double sum_now = 0.0, moved = 0.0;
    for (int64_t g = 0; g < now.groups(); ++g) {
      if (!(group[g].now.sum > 0.0f)) continue;
      const double behind_now = scale * (double{group[g].now.max} - max_now);
      const double behind_before = scale * (double{group[g].before.max} - max_before);
      const double weight = std::exp(behind_now);
      sum_now += weight * group[g].now.sum;
      moved += weight * (scale * group[g].moved + group[g].now.sum * (behind_now - behind_before));
    }
    return static_cast<float>(std::max(moved / sum_now - std::log(sum_now / sum_before()), 0.0));
  }

  // The first +inf of a row that has one: it takes all the probability.
  static int64_t certain_token(const VocabularyRow& row) {
    Group logits;
    for (int64_t g = 0; g < row.groups(); ++g) {
      row.load(g, logits);
      const float* begin = logits.logit;
      const float* end = begin + kGroup;
      if (const float* first = std::find(begin, end, kInfinity); first != end)
        return g * kGroup + (first - begin);
    }
    return -1;
  }

  bool only_possible(int64_t token) const {
    Group logits;
    for (int64_t g = 0; g < now.groups(); ++g) {
      now.load(g, logits);
      for (int v = 0; v < kGroup; ++v)
        if (logits.logit[v] > kNever && g * kGroup + v != token) return false;
    }
    return true;
  }

  float with_infinities() const {
    const int64_t then = certain_token(before);
    const int64_t token = certain_token(now);
    if (then >= 0) return then == token || (token < 0 && only_possible(then)) ? 0.0f : kInfinity;
    const float y = before.at(token);
    if (!(y > kNever)) return kInfinity;
    return static_cast<float>(scale * (double{max_before} - y) + std::log(sum_before()));
  }

  float divergence() const {
    if (!(max_now > kNever) || !(max_before > kNever)) return kInfinity;
    if (max_now == kInfinity || max_before == kInfinity) return with_infinities();
    return unbounded ? kInfinity : finite();
  }
};

float divergence_of_cell(const KlDivergenceArgs& args, int64_t cell) {
  const LogitRows& rows = args.rows;
  const int64_t position = position_of(rows, cell);
  if (position == kPadding) return 0.0f;

  const int64_t b = cell / rows.nodes, row = row_of(rows, position);
  const auto view = [&](const void* logits, int64_t batch_stride, int64_t row_stride) {
    const int64_t start = b * batch_stride + row * row_stride;
    return VocabularyRow{row_at(logits, rows.logits_type, start), rows.logits_type, rows.vocab,
                         nullptr};
  };
  return Comparison(view(rows.logits, rows.batch_stride, rows.row_stride),
                    view(args.previous, args.previous_batch_stride, args.previous_row_stride),
                    rows.logit_scale)
      .divergence();
}

}  // namespace

Status kl_divergence(const KlDivergenceArgs& args, const Executor& executor) {
  if (Status status = validate(args); !status.ok()) return status;
  if (Status status = check_positions(args.rows); !status.ok()) return status;

  auto cells = [&](int64_t begin, int64_t end) {
    for (int64_t cell = begin; cell < end; ++cell)
      args.divergence[cell] = divergence_of_cell(args, cell);
  };
  parallel_for(executor, args.rows.batch * args.rows.nodes, cells);
  return Status::success();
}

}  // namespace unmask::cpu
