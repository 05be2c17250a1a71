// From the winner of a draw back to a token and its probability.
#pragma once

#include "cuda/device/contest.cuh"
#include "cuda/device/logit_rows.cuh"

namespace unmask::cuda {

// One thread, after all blocks of the draw: `token` of this node holds the Entry that won, unless
// there was nothing to draw.
template <class T>
__device__ __forceinline__ void finish_draw(const TopKConfidenceArgs& args, int64_t cell) {
  const auto entry = static_cast<Entry>(args.token[cell]);
  const int64_t winner = args.ids[cell * args.k];
  if (winner < 0 || entry >> 32 == 0) return;  // nobody raised it
  const T* row = row_at<T>(args.rows, cell, row_of(args.rows, position_of(args.rows, cell)));
  const double ahead = double{to_float(row[id_of(entry)])} - to_float(row[winner]);
  args.token[cell] = id_of(entry);
  args.confidence[cell] =
      static_cast<float>(args.probs[cell * args.k] * exp(ahead * args.rows.logit_scale));
}

// The same for a kernel that is not made for one type of logits.
__device__ __forceinline__ void finish_draw(const TopKConfidenceArgs& args, int64_t cell) {
  switch (args.rows.logits_type) {
    case DType::kBFloat16: return finish_draw<BFloat16>(args, cell);
    case DType::kFloat16: return finish_draw<Float16>(args, cell);
    default: return finish_draw<float>(args, cell);
  }
}

}  // namespace unmask::cuda
