// A bitonic sort by one block, in shared memory.
#pragma once

#include "cuda/device/portable.cuh"

namespace unmask::cuda {

// The number of keys that sort_ascending needs: the next power of two, and a warp's worth at least.
__host__ __device__ constexpr int64_t sort_capacity(int64_t count) {
  int64_t capacity = 2 * kWarp;
  while (capacity < count) capacity *= 2;
  return capacity;
}

// keys[0 .. capacity) ascending, capacity a power of two from sort_capacity. All threads of a
// one-dimensional block of whole warps call it, after a barrier; it ends with one.
//
// In each stage a thread compares pairs `distance` apart. The pairs of a warp lie in its own 64
// keys once the distance is at most 32, so that only the longer stages need the whole block.
template <class Key>
__device__ void sort_ascending(Key* keys, int capacity) {
  for (int run = 2; run <= capacity; run *= 2) {
    for (int distance = run / 2; distance > 0; distance /= 2) {
      for (int pair = threadIdx.x; pair < capacity / 2; pair += blockDim.x) {
        const int low = pair / distance * 2 * distance + pair % distance;
        const int high = low + distance;
        const bool ascending = (low & run) == 0;
        const Key a = keys[low], b = keys[high];
        if ((b < a) == ascending) {
          keys[low] = b;
          keys[high] = a;
        }
      }
      const int next_distance = distance > 1 ? distance / 2 : run;
      if (distance > kWarp || next_distance > kWarp)
        __syncthreads();
      else
        __syncwarp();
    }
  }
  __syncthreads();
}

}  // namespace unmask::cuda
