// What each warp operation computes, over the records of all its lanes.
#include "warp.h"

namespace simt {
namespace {

constexpr int kLanes = 32;

bool has(uint32_t mask, int lane) { return mask >> lane & 1; }
LaneValue& lane_of(void* const* records, int lane) {
  return *static_cast<LaneValue*>(records[lane]);
}

// Reading a lane that does not take part is undefined in CUDA: all ones, so that it shows.
template <class Source>
void shuffle(void* const* records, uint32_t mask, Source source) {
  for (int lane = 0; lane < kLanes; ++lane) {
    if (!has(mask, lane)) continue;
    LaneValue& mine = lane_of(records, lane);
    const int from = source(lane, mine.argument, lane & ~(mine.width - 1), mine.width);
    mine.result = has(mask, from) ? lane_of(records, from).value : ~uint64_t{0};
  }
}

void shuffle_index(void* const* records, uint32_t mask) {
  shuffle(records, mask,
          [](int, int argument, int first, int width) { return first + (argument & (width - 1)); });
}
void shuffle_up(void* const* records, uint32_t mask) {
  shuffle(records, mask, [](int lane, int argument, int first, int) {
    return lane - argument < first ? lane : lane - argument;
  });
}
void shuffle_down(void* const* records, uint32_t mask) {
  shuffle(records, mask, [](int lane, int argument, int first, int width) {
    return lane + argument >= first + width ? lane : lane + argument;
  });
}
void shuffle_xor(void* const* records, uint32_t mask) {
  shuffle(records, mask, [](int lane, int argument, int first, int width) {
    const int from = lane ^ argument;
    return from >= first + width || from >= kLanes ? lane : from;
  });
}

void give_all(void* const* records, uint32_t mask, uint64_t result) {
  for (int lane = 0; lane < kLanes; ++lane)
    if (has(mask, lane)) lane_of(records, lane).result = result;
}

void ballot(void* const* records, uint32_t mask) {
  uint32_t votes = 0;
  for (int lane = 0; lane < kLanes; ++lane)
    if (has(mask, lane) && lane_of(records, lane).value) votes |= 1u << lane;
  give_all(records, mask, votes);
}

void match_any(void* const* records, uint32_t mask) {
  for (int lane = 0; lane < kLanes; ++lane) {
    if (!has(mask, lane)) continue;
    uint32_t equal = 0;
    for (int other = 0; other < kLanes; ++other)
      if (has(mask, other) && lane_of(records, other).value == lane_of(records, lane).value)
        equal |= 1u << other;
    lane_of(records, lane).result = equal;
  }
}

template <class T, class Combine>
void reduce(void* const* records, uint32_t mask, Combine combine) {
  bool first = true;
  T total{};
  for (int lane = 0; lane < kLanes; ++lane) {
    if (!has(mask, lane)) continue;
    const T value = static_cast<T>(lane_of(records, lane).value);
    total = first ? value : combine(total, value);
    first = false;
  }
  give_all(records, mask, static_cast<uint64_t>(total));
}

template <class T>
void least(void* const* records, uint32_t mask) {
  reduce<T>(records, mask, [](T a, T b) { return b < a ? b : a; });
}
template <class T>
void greatest(void* const* records, uint32_t mask) {
  reduce<T>(records, mask, [](T a, T b) { return a < b ? b : a; });
}
void sum(void* const* records, uint32_t mask) {
  reduce<uint64_t>(records, mask, [](uint64_t a, uint64_t b) { return a + b; });
}
void bits_and(void* const* records, uint32_t mask) {
  reduce<uint64_t>(records, mask, [](uint64_t a, uint64_t b) { return a & b; });
}
void bits_or(void* const* records, uint32_t mask) {
  reduce<uint64_t>(records, mask, [](uint64_t a, uint64_t b) { return a | b; });
}
void bits_xor(void* const* records, uint32_t mask) {
  reduce<uint64_t>(records, mask, [](uint64_t a, uint64_t b) { return a ^ b; });
}

}  // namespace

// Only __syncwarp orders memory; shuffles and votes do not promise to.
const WarpOperation kSync{"__syncwarp", nullptr, true};
const WarpOperation kShuffle{"__shfl_sync", shuffle_index, false};
const WarpOperation kShuffleUp{"__shfl_up_sync", shuffle_up, false};
const WarpOperation kShuffleDown{"__shfl_down_sync", shuffle_down, false};
const WarpOperation kShuffleXor{"__shfl_xor_sync", shuffle_xor, false};
const WarpOperation kBallot{"__ballot_sync", ballot, false};
const WarpOperation kAny{"__any_sync", ballot, false};
const WarpOperation kAll{"__all_sync", ballot, false};
const WarpOperation kMatchAny{"__match_any_sync", match_any, false};
const WarpOperation kAdd{"__reduce_add_sync", sum, false};
const WarpOperation kMinSigned{"__reduce_min_sync", least<int64_t>, false};
const WarpOperation kMinUnsigned{"__reduce_min_sync", least<uint64_t>, false};
const WarpOperation kMaxSigned{"__reduce_max_sync", greatest<int64_t>, false};
const WarpOperation kMaxUnsigned{"__reduce_max_sync", greatest<uint64_t>, false};
const WarpOperation kAnd{"__reduce_and_sync", bits_and, false};
const WarpOperation kOr{"__reduce_or_sync", bits_or, false};
const WarpOperation kXor{"__reduce_xor_sync", bits_xor, false};

}  // namespace simt
