// Barriers, fences, and what the lanes of a warp do together. The overloads are as narrow as
// CUDA's own, so that what compiles here compiles under nvcc.
#pragma once

#include <cstring>

#include "engine.h"

namespace simt {

// One lane's part in a shuffle, vote or reduction, as raw bits.
struct LaneValue {
  uint64_t value;
  uint64_t result;
  int argument;
  int width;
};

extern const WarpOperation kSync, kShuffle, kShuffleUp, kShuffleDown, kShuffleXor, kBallot, kAny,
    kAll, kMatchAny, kAdd, kMinSigned, kMinUnsigned, kMaxSigned, kMaxUnsigned, kAnd, kOr, kXor;

template <class T>
uint64_t to_bits(T value) {
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof value);
  return bits;
}

template <class T>
T together(const WarpOperation& operation, unsigned mask, T value, int argument, int width,
           const Location& at) {
  LaneValue mine{to_bits(value), 0, argument, width};
  meet(operation, mask, &mine, at);
  T result;
  std::memcpy(&result, &mine.result, sizeof result);
  return result;
}

}  // namespace simt

#define SIMT_HERE simt::Location at = simt::Location::current()

inline void __syncthreads(SIMT_HERE) { simt::block_barrier(simt::Barrier::kPlain, false, at); }
inline int __syncthreads_or(int predicate, SIMT_HERE) {
  return simt::block_barrier(simt::Barrier::kOr, predicate != 0, at);
}
inline int __syncthreads_and(int predicate, SIMT_HERE) {
  return simt::block_barrier(simt::Barrier::kAnd, predicate != 0, at);
}
inline int __syncthreads_count(int predicate, SIMT_HERE) {
  return simt::block_barrier(simt::Barrier::kCount, predicate != 0, at);
}
inline void __syncwarp(unsigned mask = 0xffffffffu, SIMT_HERE) {
  simt::meet(simt::kSync, mask, nullptr, at);
}
inline void __threadfence() { simt::device_fence(); }
inline void __threadfence_block() { simt::device_fence(); }
inline void __nanosleep(unsigned) { simt::give_way(); }
inline unsigned __activemask() { return simt::active_mask(); }

inline unsigned __ballot_sync(unsigned mask, int predicate, SIMT_HERE) {
  return simt::together<unsigned>(simt::kBallot, mask, predicate != 0, 0, 0, at);
}
inline int __any_sync(unsigned mask, int predicate, SIMT_HERE) {
  return simt::together<unsigned>(simt::kAny, mask, predicate != 0, 0, 0, at) != 0;
}
inline int __all_sync(unsigned mask, int predicate, SIMT_HERE) {
  return simt::together<unsigned>(simt::kAll, mask, predicate != 0, 0, 0, at) == mask;
}

#define SIMT_WARP_TYPE(type)                                                                     \
  inline type __shfl_sync(unsigned mask, type value, int lane, int width = 32, SIMT_HERE) {      \
    return simt::together(simt::kShuffle, mask, value, lane, width, at);                         \
  }                                                                                              \
  inline type __shfl_up_sync(unsigned mask, type value, unsigned delta, int width = 32,          \
                             SIMT_HERE) {                                                        \
    return simt::together(simt::kShuffleUp, mask, value, static_cast<int>(delta), width, at);    \
  }                                                                                              \
  inline type __shfl_down_sync(unsigned mask, type value, unsigned delta, int width = 32,        \
                               SIMT_HERE) {                                                      \
    return simt::together(simt::kShuffleDown, mask, value, static_cast<int>(delta), width, at);  \
  }                                                                                              \
  inline type __shfl_xor_sync(unsigned mask, type value, int lanes, int width = 32, SIMT_HERE) { \
    return simt::together(simt::kShuffleXor, mask, value, lanes, width, at);                     \
  }                                                                                              \
  inline unsigned __match_any_sync(unsigned mask, type value, SIMT_HERE) {                       \
    return static_cast<unsigned>(                                                                \
        simt::together<uint64_t>(simt::kMatchAny, mask, simt::to_bits(value), 0, 0, at));        \
  }
SIMT_WARP_TYPE(int)
SIMT_WARP_TYPE(unsigned)
SIMT_WARP_TYPE(long)
SIMT_WARP_TYPE(unsigned long)
SIMT_WARP_TYPE(long long)
SIMT_WARP_TYPE(unsigned long long)
SIMT_WARP_TYPE(float)
SIMT_WARP_TYPE(double)
#undef SIMT_WARP_TYPE

#define SIMT_REDUCE(name, type, operation)                                                      \
  inline type name(unsigned mask, type value, SIMT_HERE) {                                      \
    return static_cast<type>(                                                                   \
        simt::together<int64_t>(simt::operation, mask, static_cast<int64_t>(value), 0, 0, at)); \
  }
SIMT_REDUCE(__reduce_add_sync, int, kAdd)
SIMT_REDUCE(__reduce_add_sync, unsigned, kAdd)
SIMT_REDUCE(__reduce_min_sync, int, kMinSigned)
SIMT_REDUCE(__reduce_min_sync, unsigned, kMinUnsigned)
SIMT_REDUCE(__reduce_max_sync, int, kMaxSigned)
SIMT_REDUCE(__reduce_max_sync, unsigned, kMaxUnsigned)
SIMT_REDUCE(__reduce_and_sync, unsigned, kAnd)
SIMT_REDUCE(__reduce_or_sync, unsigned, kOr)
SIMT_REDUCE(__reduce_xor_sync, unsigned, kXor)
#undef SIMT_REDUCE
