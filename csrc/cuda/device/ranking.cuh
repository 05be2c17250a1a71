// The nodes of one row in the order of a choice: keys in shared memory, sorted by the block.
#pragma once

#include "core/float_order.h"
#include "cuda/device/reduce.cuh"
#include "cuda/device/sort.cuh"

namespace unmask::cuda {

inline constexpr uint64_t kNobody = ~uint64_t{0};  // sorts behind every node, NaN included

__device__ __forceinline__ int node_of(uint64_t key) {
  return static_cast<int>(static_cast<uint32_t>(key));
}

// What the upper half of a rank_key says.
__device__ __forceinline__ float value_of(uint64_t key) {
  return value_of_key(~static_cast<uint32_t>(key >> 32));
}

constexpr int64_t ranking_bytes(int64_t nodes) {
  return sort_capacity(nodes) * static_cast<int64_t>(sizeof(uint64_t));
}

// keys[0 .. sort_capacity(nodes)): key_of(node) of every node, ascending; nobody comes last. Ends
// with a barrier.
template <class KeyOf>
__device__ void rank_nodes(int nodes, uint64_t* keys, KeyOf key_of) {
  const int capacity = static_cast<int>(sort_capacity(nodes));
  for (int i = threadIdx.x; i < capacity; i += blockDim.x)
    keys[i] = i < nodes ? key_of(i) : kNobody;
  __syncthreads();
  sort_ascending(keys, capacity);
}

// The node with a token of highest confidence, ties to the lower one, NaN last; -1: none has one.
// Every selection falls back to it, so that every step makes progress. Valid in every thread;
// `per_warp` is kMaxWarps keys of shared memory.
__device__ __forceinline__ int most_confident(const float* confidence, const int64_t* token,
                                              int nodes, uint64_t* per_warp) {
  uint64_t best = kNobody;
  for (int i = threadIdx.x; i < nodes; i += blockDim.x) {
    const uint64_t key =
        token[i] >= 0 ? rank_key(confidence[i], static_cast<uint32_t>(i)) : kNobody;
    best = key < best ? key : best;
  }
  best = block_reduce(best, per_warp, [](uint64_t a, uint64_t b) { return b < a ? b : a; });
  return best == kNobody ? -1 : node_of(best);
}

}  // namespace unmask::cuda
