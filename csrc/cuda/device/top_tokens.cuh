// The k best tokens of some tiles of a row, without having kept track of them: while the tiles were
// read, every lane left the largest logit of its 32 tokens as a 16-bit key, its delegate. The k-th
// largest delegate is a lower bound of the k-th largest logit, so only the parts whose delegate
// reaches it are read again, about k of them.
//
// Ties can let through more tokens than the list of candidates holds. Then the parts that tied get
// the next 16 bits of their best token as a delegate, first the lower half of its logit, then the
// upper bits of its id. After that at most 16 neighbouring tokens tie, so that k + 3 parts are left.
//
// All functions are for the whole block: one-dimensional, whole warps, at most kMostWarps.
#pragma once

#include "core/two_level.h"
#include "cuda/device/reduce.cuh"
#include "cuda/device/vocabulary.cuh"

namespace unmask::cuda {

inline constexpr int kMostWarps = 16;
inline constexpr int kMostCandidates = (kMaxTopK + 3) * kPart;

// ---- merits: larger is better; equal logits are ordered by the token, the lower one first --------

inline constexpr uint64_t kNoMerit = 0;  // of nothing: below every token
inline constexpr int kSpareBits = 12;    // a token needs 20

__device__ __forceinline__ uint64_t merit_of(float logit, int token) {
  const uint32_t before = static_cast<uint32_t>(static_cast<int>(kMaxVocab) - 1 - token);
  return static_cast<uint64_t>(order_key(logit)) << 32 | before << kSpareBits;
}

__device__ __forceinline__ int token_of_merit(uint64_t merit) {
  return static_cast<int>(kMaxVocab) - 1 -
         static_cast<int>(static_cast<uint32_t>(merit) >> kSpareBits);
}

__device__ __forceinline__ float logit_of_merit(uint64_t merit) {
  return value_of_key(static_cast<uint32_t>(merit >> 32));
}

// ---- delegates ----------------------------------------------------------------------------------

inline constexpr uint32_t kLeastDelegate = (kNeverKey + 1) >> 16;  // of a part with a usable logit

__device__ __forceinline__ uint16_t delegate_of(float largest) {
  return two_level::short_key(largest);
}

struct TopScratch {
  uint64_t candidates[kMostCandidates];
  uint64_t top[kMaxTopK];  // the answer: merits, best first; kNoMerit pads
  uint32_t counts[2][2][kMostWarps];
  int candidate_count;
};

// The k-th largest delegate (0 when there are fewer), and how many reach it.
struct Threshold {
  uint32_t delegate;
  int reached_by;
};

// Sums over the block, valid in every thread. Two calls in a row take different slots.
__device__ __forceinline__ uint2 block_counts(uint2 mine, uint32_t (&slot)[2][kMostWarps]) {
  const uint32_t x = __reduce_add_sync(kWholeWarp, mine.x);
  const uint32_t y = __reduce_add_sync(kWholeWarp, mine.y);
  if (lane_id() == 0) {
    slot[0][warp_id()] = x;
    slot[1][warp_id()] = y;
  }
  __syncthreads();
  uint2 total = make_uint2(0, 0);
  for (int warp = 0; warp < static_cast<int>(blockDim.x) / kWarp; ++warp) {
    total.x += slot[0][warp];
    total.y += slot[1][warp];
  }
  return total;
}

__device__ __forceinline__ Threshold largest_delegate(const uint16_t* delegates, int count,
                                                      TopScratch& shared) {
  uint32_t mine = 0;
  for (int i = threadIdx.x; i < count; i += blockDim.x) mine = max(mine, uint32_t{delegates[i]});
  const uint32_t most = block_max(mine, shared.counts[1][0]);
  uint32_t reached = 0;
  for (int i = threadIdx.x; i < count; i += blockDim.x) reached += delegates[i] == most ? 1 : 0;
  return {most, static_cast<int>(block_counts(make_uint2(reached, 0), shared.counts[0]).x)};
}

// Two binary digits a round, the highest first: half the barriers of one digit.
__device__ __forceinline__ Threshold kth_delegate(const uint16_t* delegates, int count, int k,
                                                  TopScratch& shared) {
  if (k == 1) return largest_delegate(delegates, count, shared);
  Threshold found{0, count};
  for (int shift = 14; shift >= 0; shift -= 2) {
    const uint32_t first = found.delegate | 1u << shift, second = found.delegate | 2u << shift,
                   third = found.delegate | 3u << shift;
    uint2 reached = make_uint2(0, 0);  // two counts of up to 2^15 in one word
    for (int i = threadIdx.x; i < count; i += blockDim.x) {
      const uint32_t delegate = delegates[i];
      reached.x += (delegate >= first ? 1u : 0u) + (delegate >= second ? 1u << 16 : 0u);
      reached.y += delegate >= third ? 1u : 0u;
    }
    reached = block_counts(reached, shared.counts[shift / 2 % 2]);
    const int by[] = {static_cast<int>(reached.x & 0xffffu), static_cast<int>(reached.x >> 16),
                      static_cast<int>(reached.y)};
    if (by[2] >= k)
      found = {third, by[2]};
    else if (by[1] >= k)
      found = {second, by[1]};
    else if (by[0] >= k)
      found = {first, by[0]};
  }
  return found;
}

// ---- the search ---------------------------------------------------------------------------------

// `Tiles` are those of the block, see `Slice` of topk_confidence.cu: `count` of them, from tile
// `first` of the vocabulary on, with `delegates` [count][32] and logit(token), never NaN.

// The short key of each part of core/two_level.h: the larger delegate of the two lanes that share it.
// Those are neighbours if they read 4 tokens at once, and half a warp apart if they read 8. `keys`
// are those of the row. To be called before find_top(), which writes to the delegates.
template <class Tiles>
__device__ __forceinline__ void write_keys(const Tiles& tiles, uint16_t* keys) {
  constexpr int kParts = two_level::kPartsPerTile;
  constexpr bool kNeighbours = kPerLoad<typename Tiles::Logit> == 4;
  constexpr int kStep = kNeighbours ? 2 : 1, kOther = kNeighbours ? 1 : kWarp / 2;
  for (int i = threadIdx.x; i < tiles.count * kParts; i += blockDim.x) {
    const int lane = i / kParts * kWarp + i % kParts * kStep;
    keys[tiles.first * kParts + i] = max(tiles.delegates[lane], tiles.delegates[lane + kOther]);
  }
}

// Calls body(part, token, logit) for each part of a tile that is a bit of `parts`, the whole warp
// at once: every lane brings one of the part's tokens.
template <class Tiles, class Body>
__device__ __forceinline__ void for_each_part(const Tiles& tiles, int tile, uint32_t parts,
                                              Body body) {
  for_each_bit(parts, [&](int part) {
    const int token = token_of<typename Tiles::Logit>(tiles.first + tile, part, lane_id());
    body(part, token, tiles.logit(token));
  });
}

// Lists every token with at least the merit `bound`. At most kMostCandidates are kept, all counted.
template <class Tiles>
__device__ __forceinline__ void collect(const Tiles& tiles, uint32_t delegate, uint64_t bound,
                                        TopScratch& shared) {
  for (int tile = warp_id(); tile < tiles.count; tile += blockDim.x / kWarp) {
    const uint32_t parts =
        __ballot_sync(kWholeWarp, tiles.delegates[tile * kWarp + lane_id()] >= delegate);
    for_each_part(tiles, tile, parts, [&](int, int token, float logit) {
      const uint64_t merit = merit_of(logit, token);
      const uint32_t found = __ballot_sync(kWholeWarp, merit >= bound);
      int place = 0;
      if (lane_id() == 0) place = atomicAdd(&shared.candidate_count, __popc(found));
      place = __shfl_sync(kWholeWarp, place, 0) + __popc(found & ((1u << lane_id()) - 1u));
      if (merit >= bound && place < kMostCandidates) shared.candidates[place] = merit;
    });
  }
  __syncthreads();
}

// The parts that tied at `delegate` get their next 16 bits as a delegate, those above the largest
// one and those below the least. `bits` of the bound are settled.
template <class Tiles>
__device__ __forceinline__ void refine(const Tiles& tiles, uint32_t delegate, uint64_t bound,
                                       int bits) {
  for (int tile = warp_id(); tile < tiles.count; tile += blockDim.x / kWarp) {
    uint16_t& mine = tiles.delegates[tile * kWarp + lane_id()];
    uint32_t next = mine > delegate ? 0xffffu : 0u;
    const uint32_t tied = __ballot_sync(kWholeWarp, mine == delegate);
    for_each_part(tiles, tile, tied, [&](int part, int token, float logit) {
      const uint64_t best = warp_max(merit_of(logit, token));
      const uint64_t theirs = best >> (64 - bits), settled = bound >> (64 - bits);
      if (part != lane_id()) return;
      next = static_cast<uint32_t>(best >> (48 - bits)) & 0xffffu;
      if (theirs != settled) next = theirs > settled ? 0xffffu : 0u;
    });
    mine = static_cast<uint16_t>(next);
  }
  __syncthreads();
}

// Puts the k best candidates in order. No two merits are equal, so the places are all different.
__device__ __forceinline__ void rank_candidates(int count, int k, TopScratch& shared) {
  for (int i = threadIdx.x; i < k; i += blockDim.x) shared.top[i] = kNoMerit;
  __syncthreads();
  for (int i = threadIdx.x; i < count; i += blockDim.x) {
    const uint64_t mine = shared.candidates[i];
    int place = 0;
    for (int j = 0; j < count; ++j) place += shared.candidates[j] > mine ? 1 : 0;
    if (place < k) shared.top[place] = mine;
  }
  __syncthreads();
}

// The k best of `lists` lists of k candidates each, best first in each list.
__device__ __forceinline__ void merge_ranked(int lists, int k, TopScratch& shared) {
  for (int i = threadIdx.x; i < k; i += blockDim.x) shared.top[i] = kNoMerit;
  __syncthreads();
  for (int i = threadIdx.x; i < lists * k; i += blockDim.x) {
    const uint64_t mine = shared.candidates[i];
    int place = i % k;
    for (int list = 0; list < lists && place < k; ++list) {
      if (list == i / k) continue;
      int better = 0, end = k;  // the first of the list that is not better lies in [better, end]
      while (better < end) {
        const int middle = (better + end) / 2;
        if (shared.candidates[list * k + middle] > mine)
          better = middle + 1;
        else
          end = middle;
      }
      place += better;
    }
    if (place < k && mine != kNoMerit) shared.top[place] = mine;
  }
  __syncthreads();
}

// Fills shared.top. To be called after a barrier behind the writing of the delegates.
template <class Tiles>
__device__ __forceinline__ void find_top(const Tiles& tiles, int k, TopScratch& shared) {
  constexpr int kWorthTrying = 512;  // parts; most have one or two tokens above the bound
  constexpr int kLastLevel = 32;
  uint64_t bound = 0;
  for (int level = 0;; level += 16) {
    if (threadIdx.x == 0) shared.candidate_count = 0;
    Threshold threshold = kth_delegate(tiles.delegates, tiles.count * kWarp, k, shared);
    if (level == 0 && threshold.delegate < kLeastDelegate) threshold = {kLeastDelegate, 0};
    bound |= static_cast<uint64_t>(threshold.delegate) << (48 - level);
    if (threshold.reached_by <= kWorthTrying || level == kLastLevel) {
      collect(tiles, threshold.delegate, bound, shared);
      if (shared.candidate_count <= kMostCandidates) break;
    }
    refine(tiles, threshold.delegate, bound, level + 16);
  }
  rank_candidates(shared.candidate_count, k, shared);
}

}  // namespace unmask::cuda
