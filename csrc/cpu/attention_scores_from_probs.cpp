// Heads are added in ascending order in float32, and the sum is multiplied by weight / heads.
#include "cpu/check_positions.h"
#include "cpu/multiversion.h"
#include "cpu/parallel.h"
#include "cpu/score_rows.h"
#include "cpu/to_float.h"
#include "unmask/attention_scores.h"

namespace unmask::cpu {
namespace {

// NaN is what softmax returns for a row whose every key was forbidden: no attention.
template <class T>
UNMASK_INLINE void add_head(const T* row, int64_t stride, const ExistingNodes& nodes, float* sums) {
#pragma omp simd
  for (int64_t c = 0; c < nodes.count; ++c) {
    const float probability = to_float(row[nodes.position[c] * stride]);
    sums[c] += probability == probability ? probability : 0.0f;
  }
}

UNMASK_MULTIVERSION void add_heads(const AttentionScoresFromProbsArgs& args, int64_t offset,
                                   const ExistingNodes& nodes, float* sums) {
  for (int64_t head = 0; head < args.heads; ++head, offset += args.stride[1]) {
    const int64_t stride = args.stride[3];
    switch (args.type) {
      case DType::kBFloat16:
        add_head(static_cast<const BFloat16*>(args.probs) + offset, stride, nodes, sums);
        break;
      case DType::kFloat16:
        add_head(static_cast<const Float16*>(args.probs) + offset, stride, nodes, sums);
        break;
      default: add_head(static_cast<const float*>(args.probs) + offset, stride, nodes, sums);
    }
  }
}

}  // namespace

Status attention_scores_from_probs(const AttentionScoresFromProbsArgs& args,
                                   const Executor& executor) {
  if (Status status = validate(args); !status.ok()) return status;
  if (Status status = check_positions(args.positions, args.batch, args.nodes, args.length);
      !status.ok())
    return status;

  constexpr int64_t kRows = 16;  // of one batch row, per task
  const int64_t chunks = (args.nodes + kRows - 1) / kRows;
  const float factor = args.weight / static_cast<float>(args.heads);
  auto work = [&](int64_t begin, int64_t end) {
    float sums[kMaxNodes];
    for (int64_t task = begin; task < end; ++task) {
      const int64_t batch = task / chunks, first = task % chunks * kRows;
      const int64_t last = std::min(first + kRows, args.nodes);
      const int32_t* positions = args.positions + batch * args.nodes;
      float* scores = args.scores + batch * args.nodes * args.nodes;
      const ExistingNodes nodes(positions, args.nodes);
      if (!args.accumulate) clear_padding_rows(positions, first, last, args.nodes, scores);
      for (int64_t n = first; n < last; ++n) {
        if (positions[n] < 0) continue;
        std::fill_n(sums, nodes.count, 0.0f);
        add_heads(args, batch * args.stride[0] + positions[n] * args.stride[2], nodes, sums);
        store_scores(nodes, sums, factor, args.accumulate, args.nodes, scores + n * args.nodes);
      }
    }
  };
  parallel_for(executor, args.batch * chunks, work);
  return Status::success();
}

}  // namespace unmask::cpu
