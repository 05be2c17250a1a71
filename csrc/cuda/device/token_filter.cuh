// What top_k and then top_p keep of a row, found by one block: one cut of the ranking by value,
// ties to the lower id. The same tokens as cpu/sampling.cpp keeps.
//
// One pass takes the largest logit of each tile, and the total mass where that decides. When those
// alone weigh enough, nothing behind the last of them can be needed: few tokens remain, which one
// more look at their tiles lists in shared memory, and selection goes on in the list. A flat row,
// or a large top_k, is read again for each digit until the list can hold what is left.
#pragma once

#include "core/float_order.h"
#include "core/token_mass.h"
#include "cuda/device/contest.cuh"
#include "cuda/device/radix_select.cuh"
#include "cuda/device/reduce.cuh"
#include "unmask/topk_confidence.h"

namespace unmask::cuda {

inline constexpr int kMostListed = 1024;  // tokens

// What a token weighs in a cut.
struct Count {
  __device__ bool negligible(float) const { return false; }
  __device__ uint64_t of(float) const { return 1; }
};

struct Mass : TokenMass {
  using TokenMass::TokenMass;

  // Certainly 0.
  __device__ bool negligible(float logit) const { return (logit - max) * factor_log2 < -43.0f; }
};

struct FilterScratch {
  RadixSelect select;
  uint64_t listed[kMostListed];        // rank keys
  uint32_t count;                      // of listed tokens; above kMostListed: there is no list
  uint32_t best[tiles_of(kMaxVocab)];  // order_key of the largest logit of each tile
};

// The lowest order_key up to a rank.
__device__ __forceinline__ uint32_t lowest_key(uint64_t rank) {
  return ~static_cast<uint32_t>(rank >> 32);
}

// `Row` has for_each_tile(test, visit), which calls visit(tile, part) for the tiles that pass the
// test, a warp each, and `last`, the number of tiles. All threads of the block call each function.
template <class Row>
struct TokenFilter {
  const Row& row;
  FilterScratch& shared;

  // Fills `best`; returns what all tokens weigh together. Ends with a barrier.
  template <class Weight>
  __device__ uint64_t survey(const Weight& weight) const {
    uint64_t total = 0;
    row.for_each_tile([](int) { return true; },
                      [&](int tile, const auto& part) {
                        const float best = warp_largest(largest(part));
                        if (lane_id() == 0) shared.best[tile] = order_key(best);
                        if (weight.negligible(best)) return;
#pragma unroll
                        for (int i = 0; i < kPart; ++i) total += weight.of(part.logit(i));
                      });
    if (threadIdx.x == 0) shared.count = ~0u;
    return block_sum(total, shared.select.per_warp);
  }

  // visit(rank, logit) for the tokens with ranks up to `high`, and maybe more. When there is no
  // list yet it tries to make one. Begins and ends with a barrier where that is done.
  template <class Visit>
  __device__ void for_each_token(uint64_t high, const Visit& visit) const {
    if (shared.count <= kMostListed) {
      for (uint32_t i = threadIdx.x; i < shared.count; i += blockDim.x)
        visit(shared.listed[i], value_of_key(lowest_key(shared.listed[i])));
      return;
    }
    bool full = high == kUncut;
    __syncthreads();
    if (!full && threadIdx.x == 0) shared.count = 0;
    __syncthreads();
    const auto list = [&](uint64_t rank) {
      const uint32_t at = atomicAdd(&shared.count, 1u);
      full = at >= kMostListed;
      if (!full) shared.listed[at] = rank;
    };
    const float lowest = value_of_key(lowest_key(high));
    const auto above = [lowest](int, const float (&quad)[4]) {
      unsigned hits = 0;
#pragma unroll
      for (int j = 0; j < 4; ++j) hits |= static_cast<unsigned>(quad[j] >= lowest) << j;
      return hits;
    };
    row.for_each_tile([&](int tile) { return shared.best[tile] >= lowest_key(high); },
                      [&](int tile, const auto& part) {
                        for_each_hit(part, tile, above, [&](int token, float logit) {
                          const uint64_t rank = rank_key(logit, static_cast<uint32_t>(token));
                          if (rank > high) return;
                          visit(rank, logit);
                          if (!full) list(rank);
                        });
                      });
    __syncthreads();
  }

  // What the tokens up to `cut` weigh together.
  template <class Weight>
  __device__ uint64_t weigh(uint64_t cut, const Weight& weight) const {
    uint64_t total = 0;
    for_each_token(cut, [&](uint64_t rank, float logit) {
      if (rank <= cut) total += weight.of(logit);
    });
    return block_sum(total, shared.select.per_warp);
  }

  // Shortens `cut` to where the running weight reaches `target`.
  template <class Weight>
  __device__ uint64_t shorten(uint64_t cut, uint64_t target, const Weight& weight) const {
    const auto best_of_tiles = [&](uint64_t, uint64_t, const auto& visit) {
      for (int tile = threadIdx.x; tile < row.last; tile += blockDim.x)
        visit(uint64_t{~shared.best[tile]} << 32 | 0xffffffffu, value_of_key(shared.best[tile]));
    };
    const auto tokens = [&](uint64_t, uint64_t high, const auto& visit) {
      for_each_token(high, visit);
    };
    const uint64_t bound =
        cut_ranking(shared.select, kValueDigits, cut, target, weight, best_of_tiles);
    return cut_ranking(shared.select, kAllDigits, bound, target, weight, tokens);
  }

  __device__ uint64_t cut(const Sampling& sampling, const Mass& mass) const {
    const auto target_of = [&](uint64_t total) {
      const double target = ceil(sampling.top_p * static_cast<double>(total));
      return min(max(static_cast<uint64_t>(target), uint64_t{1}), total);
    };
    if (sampling.top_k == 0) return shorten(kUncut, target_of(survey(mass)), mass);
    survey(Count{});
    const uint64_t cut = shorten(kUncut, static_cast<uint64_t>(sampling.top_k), Count{});
    if (!(sampling.top_p < 1.0)) return cut;
    return shorten(cut, target_of(weigh(cut, mass)), mass);
  }
};

}  // namespace unmask::cuda
