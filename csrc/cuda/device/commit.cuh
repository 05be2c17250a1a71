// Writing the chosen tokens of one row, and counting the masks left, by one block.
#pragma once

#include "cuda/device/reduce.cuh"
#include "unmask/commit.h"

namespace unmask::cuda {

// Valid in every thread: how many tokens were written. A position outside [0, length) is padding; a
// token that the sequence's type cannot hold is not written. What it reads must lie behind a
// barrier; what it wrote does.
template <class Token>
__device__ __forceinline__ int commit_row(const CommitArgs& args, int64_t row) {
  auto* tokens = static_cast<Token*>(args.tokens) + row * args.token_stride;
  int committed = 0;
  for (int64_t first = 0; first < args.nodes; first += blockDim.x) {
    const int64_t node = first + threadIdx.x;
    const int64_t cell = row * args.nodes + node;
    bool writes = node < args.nodes && args.selected[cell];
    if (writes) {
      const int32_t position = args.positions[cell];
      const int64_t token = args.token[cell];
      const auto written = static_cast<Token>(token);
      writes = position >= 0 && position < args.length && token >= 0 && written == token;
      if (writes) tokens[position] = written;
    }
    committed += __syncthreads_count(writes);
  }
  return committed;
}

// How often `id` stands in a row. Valid in every thread; `per_warp` is kMaxWarps ints of shared
// memory, free again after the next barrier.
template <class Token>
__device__ __forceinline__ int count_tokens(const Token* tokens, int64_t length, int64_t id,
                                            int* per_warp) {
  int count = 0;
#pragma unroll 4
  for (int64_t p = threadIdx.x; p < length; p += blockDim.x)
    count += static_cast<int64_t>(tokens[p]) == id;
  return block_sum(count, per_warp);
}

}  // namespace unmask::cuda
