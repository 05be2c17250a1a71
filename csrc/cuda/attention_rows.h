// The two halves of attention_scores on CUDA.
#pragma once

#include "core/attention_parts.h"
#include "cuda/device/attention_rule.cuh"
#include "cuda/device/attention_tile.cuh"

namespace unmask::cuda {

inline HeadShape head_shape(const AttentionScoresArgs& args) {
  const int64_t size = args.type == DType::kFloat32 ? 4 : 2;
  bool aligned =
      args.head_dim * size % 16 == 0 && is_aligned_16(args.query) && is_aligned_16(args.key);
  for (int d = 0; d < 3; ++d)
    aligned =
        aligned && args.query_stride[d] * size % 16 == 0 && args.key_stride[d] * size % 16 == 0;
  return {static_cast<int>(args.head_dim), aligned};
}

// What the rows of masked queries are measured by, [batch, query_heads, nodes], in the workspace;
// attention_rows() puts it there. Not used when the caller brings lse.
inline RowScale* row_scales(const AttentionScoresArgs& args) {
  return reinterpret_cast<RowScale*>(args.workspace);
}

Status attention_rows(const AttentionScoresArgs& args, Stream stream);

}  // namespace unmask::cuda
