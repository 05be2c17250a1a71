// Where a ranking has to be cut so that what is kept weighs enough: radix selection on rank keys by
// one block, eleven bits a pass. Weights are integers, so the answer is exact and no order of
// summation matters. Nothing is sorted and nothing is stored but one histogram.
#pragma once

#include "core/float_order.h"
#include "cuda/device/portable.cuh"

namespace unmask::cuda {

// The parts of a rank_key(value, id) that one histogram distinguishes: 32 bits of the value, then
// the 20 that an id can have.
inline constexpr int kValueDigits = 3, kAllDigits = 5;
inline constexpr int kBins = 2048;

__device__ __forceinline__ int digit_shift(int digit) {
  constexpr int kShifts[kAllDigits] = {53, 42, 32, 9, 0};
  return kShifts[digit];
}

__device__ __forceinline__ int digit_mask(int digit) {
  constexpr int kMasks[kAllDigits] = {2047, 2047, 1023, 2047, 511};
  return kMasks[digit];
}

struct RadixSelect {
  uint32_t low[kBins];  // weights by bin; in two halves, because the hardware adds 32 bits
  uint32_t high[kBins];
  uint64_t per_warp[kMaxWarps];
  int bin;                  // where the running weight reaches the target; -1: nowhere
  uint64_t before, weight;  // that lies in front of that bin, and in it

  __device__ __forceinline__ void clear() {
    for (int i = threadIdx.x; i < kBins; i += blockDim.x) low[i] = high[i] = 0;
    if (threadIdx.x == 0) bin = -1;
  }

  // Up to 2^20 weights of at most 2^42.
  __device__ __forceinline__ void add(int to, uint64_t extra) {
    const auto part = static_cast<uint32_t>(extra);
    auto rest = static_cast<uint32_t>(extra >> 32);
    if (part != 0 && atomicAdd(&low[to], part) + part < part) ++rest;  // it wrapped around
    if (rest != 0) atomicAdd(&high[to], rest);
  }

  __device__ __forceinline__ uint64_t weight_of(int i) const {
    return static_cast<uint64_t>(high[i]) << 32 | low[i];
  }

  // Call between barriers. Leaves the first bin at which the running weight reaches `target` >= 1.
  __device__ void find_bin(uint64_t target) {
    const int share = (kBins + static_cast<int>(blockDim.x) - 1) / static_cast<int>(blockDim.x);
    const int first = min(static_cast<int>(threadIdx.x) * share, kBins);
    const int last = min(first + share, kBins);
    uint64_t mine = 0;
    for (int i = first; i < last; ++i) mine += weight_of(i);

    uint64_t running = mine;  // of the lanes up to this one
    for (int distance = 1; distance < kWarp; distance *= 2) {
      const uint64_t other = __shfl_up_sync(kWholeWarp, running, distance);
      if (lane_id() >= distance) running += other;
    }
    if (lane_id() == kWarp - 1) per_warp[warp_id()] = running;
    __syncthreads();
    for (int warp = 0; warp < warp_id(); ++warp) running += per_warp[warp];

    uint64_t passed = running - mine;
    if (passed >= target || running < target) return;
    int i = first;
    while (passed + weight_of(i) < target) passed += weight_of(i++);
    bin = i;
    before = passed;
    weight = weight_of(i);
  }
};

// The rank of the last item to keep: the first, in ascending order of ranks up to `limit`, at which
// the running weight reaches `target`, or any later rank that keeps no further item. `limit` itself
// when all items together weigh less.
//
//   items(low, high, visit)  calls visit(rank, value) at least for the items in [low, high], any
//                            order, any thread; all threads of the block call it together
//   weight.of(value)         what an item weighs; the same for equal values
//
// All threads of a one-dimensional block of whole warps call it and get the answer.
template <class Weight, class Items>
__device__ uint64_t cut_ranking(RadixSelect& shared, int digits, uint64_t limit, uint64_t target,
                                const Weight& weight, const Items& items) {
  uint64_t low = 0, high = limit, missing = target;
  for (int digit = 0; digit < digits; ++digit) {
    const int shift = digit_shift(digit), mask = digit_mask(digit);
    __syncthreads();  // everyone has read what the last pass found
    shared.clear();
    __syncthreads();
    items(low, high, [&](uint64_t rank, float value) {
      if (rank >= low && rank <= high)
        shared.add(static_cast<int>(rank >> shift) & mask, weight.of(value));
    });
    __syncthreads();
    shared.find_bin(missing);
    __syncthreads();
    if (shared.bin < 0) return limit;

    missing -= shared.before;
    low |= static_cast<uint64_t>(shared.bin) << shift;
    high = min(limit, low | ((uint64_t{1} << shift) - 1));
    // The bin's last item weighs at least this; if it is needed, all of the bin is kept.
    const bool one_value = digit >= kValueDigits - 1;
    const uint64_t last =
        one_value ? weight.of(value_of_key(~static_cast<uint32_t>(low >> 32))) : 1;
    if (shared.weight - missing < last) break;
  }
  return high;
}

}  // namespace unmask::cuda
