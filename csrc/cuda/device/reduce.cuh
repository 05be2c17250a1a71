// Sums and maxima in a fixed order, so that the same numbers give the same bits on every GPU, in
// every batch, and on the CPU. One-dimensional blocks of whole warps; every thread takes part.
// Each function says which threads hold the result.
#pragma once

#include "cuda/device/portable.cuh"

namespace unmask::cuda {

// Lane l takes lane l + distance at distances 16, 8, 4, 2, 1: the order of dependency_graph.h.
// combine(mine, other); the result is valid in lane 0.
template <class T, class Combine>
__device__ __forceinline__ T warp_reduce(T value, Combine combine) {
#pragma unroll
  for (int distance = kWarp / 2; distance > 0; distance /= 2)
    value = combine(value, __shfl_down_sync(kWholeWarp, value, distance));
  return value;
}

// Valid in lane 0.
template <class T>
__device__ __forceinline__ T warp_sum(T value) {
  return warp_reduce(value, [](T a, T b) { return a + b; });
}

// Valid in every lane. Exact for any order, NaN-free input.
template <class T>
__device__ __forceinline__ T warp_max(T value) {
#pragma unroll
  for (int distance = kWarp / 2; distance > 0; distance /= 2) {
    const T other = __shfl_xor_sync(kWholeWarp, value, distance);
    value = value < other ? other : value;
  }
  return value;
}

// First within warps as above, then over the warps in ascending order. `per_warp` is kMaxWarps
// values of shared memory. Valid in every thread; a barrier must pass before per_warp is used again.
template <class T, class Combine>
__device__ __forceinline__ T block_reduce(T value, T* per_warp, Combine combine) {
  value = warp_reduce(value, combine);
  if (lane_id() == 0) per_warp[warp_id()] = value;
  __syncthreads();
  T total = per_warp[0];
  for (int warp = 1; warp < static_cast<int>(blockDim.x) / kWarp; ++warp)
    total = combine(total, per_warp[warp]);
  return total;
}

template <class T>
__device__ __forceinline__ T block_sum(T value, T* per_warp) {
  return block_reduce(value, per_warp, [](T a, T b) { return a + b; });
}

template <class T>
__device__ __forceinline__ T block_max(T value, T* per_warp) {
  return block_reduce(value, per_warp, [](T a, T b) { return a < b ? b : a; });
}

// How many threads raised their flag, and how many of those come before this one.
struct Standing {
  int total;
  int before;
};

// Valid in every thread; a barrier must pass before per_warp (kMaxWarps ints) is used again.
__device__ __forceinline__ Standing block_standing(bool flag, int* per_warp) {
  const uint32_t votes = __ballot_sync(kWholeWarp, flag);
  if (lane_id() == 0) per_warp[warp_id()] = __popc(votes);
  __syncthreads();
  Standing standing{0, __popc(votes & ((1u << lane_id()) - 1u))};
  for (int warp = 0; warp < static_cast<int>(blockDim.x) / kWarp; ++warp) {
    if (warp < warp_id()) standing.before += per_warp[warp];
    standing.total += per_warp[warp];
  }
  return standing;
}

}  // namespace unmask::cuda
