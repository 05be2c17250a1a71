// A row of logits as kernels read it: tiles of kTile tokens, each by one warp, 32 tokens a lane, in
// loads of 16 bytes that are all under way at once. Which lane gets which token depends on the type
// alone, never on the address: a row that is not aligned is read token by token, to the same bits.
//
//   token_of<T>(tile, lane, i) = kTile * tile + kPerLoad * (32 * (i / kPerLoad) + lane) + i % kPerLoad
//
// What a tile lacks at the end of the vocabulary reads as -inf, and so do suppressed tokens after
// remove_suppressed(). NaN stays NaN in a part; logit() turns it into -inf.
#pragma once

#include <cmath>
#include <cstring>

#include "core/float_order.h"
#include "core/vocabulary_tiles.h"
#include "cuda/device/bitset.cuh"
#include "cuda/device/load.cuh"

namespace unmask::cuda {

inline constexpr int kPart = kTile / kWarp;         // tokens of one lane
inline constexpr uint32_t kNeverKey = 0x007fffffu;  // order_key(-inf); NaN is below

__device__ __forceinline__ float never() { return __uint_as_float(0xff800000u); }  // -inf

template <class T>
inline constexpr uint32_t kNeverBits = 0xff800000u;
template <>
inline constexpr uint32_t kNeverBits<BFloat16> = 0xff80u;
template <>
inline constexpr uint32_t kNeverBits<Float16> = 0xfc00u;

template <class T>
struct VocabularyRow {
  const T* logits;
  int vocab;
  bool aligned;

  __device__ __forceinline__ VocabularyRow(const T* logits, int64_t vocab)
      : logits(logits), vocab(static_cast<int>(vocab)), aligned(is_aligned_16(logits)) {}
};

// One lane's tokens of a tile, as they lie in memory. Every index must be a constant after
// unrolling, so that the words stay in registers.
template <class T>
struct TilePart {
  static constexpr int kInWord = 4 / static_cast<int>(sizeof(T));
  static constexpr int kBits = 32 / kInWord;
  uint32_t words[kPart / kInWord];

  // NaN as it is.
  __device__ __forceinline__ float raw(int i) const {
    if constexpr (kInWord == 1)
      return __uint_as_float(words[i]);
    else
      return to_float(T{static_cast<uint16_t>(words[i / 2] >> (i % 2 * kBits))});
  }

  // -inf: can never win and carries no probability.
  __device__ __forceinline__ float logit(int i) const { return max(raw(i), never()); }

  __device__ __forceinline__ void put(int i, uint32_t bits) {
    uint32_t& word = words[i / kInWord];
    if constexpr (kInWord == 1)
      word = bits;
    else
      word = i % 2 ? (word & 0xffffu) | bits << 16 : (word & 0xffff0000u) | bits;
  }

  __device__ __forceinline__ void remove(int i) { put(i, kNeverBits<T>); }
};

// Token of the lane's i-th logit.
template <class T>
__device__ __forceinline__ int token_of(int tile, int lane, int i) {
  return tile * kTile + (i / kPerLoad<T> * kWarp + lane) * kPerLoad<T> + i % kPerLoad<T>;
}

__device__ __forceinline__ uint32_t raw_bits(float value) { return __float_as_uint(value); }
__device__ __forceinline__ uint32_t raw_bits(BFloat16 value) { return value.bits; }
__device__ __forceinline__ uint32_t raw_bits(Float16 value) { return value.bits; }

template <class T>
__device__ __forceinline__ void load_16_bytes(const T* aligned, TilePart<T>& part, int load) {
  const uint4 words = load_once(aligned);
  part.words[4 * load + 0] = words.x;
  part.words[4 * load + 1] = words.y;
  part.words[4 * load + 2] = words.z;
  part.words[4 * load + 3] = words.w;
}

// What `lane` of the warp that has `tile` reads; any thread may ask for any lane's part.
template <class T>
__device__ __forceinline__ void load_part(const VocabularyRow<T>& row, int tile, int lane,
                                          TilePart<T>& part) {
  constexpr int kLoads = kPart / kPerLoad<T>;
  if (row.aligned && (tile + 1) * kTile <= row.vocab) {
    const T* first = row.logits + token_of<T>(tile, lane, 0);
#pragma unroll
    for (int load = 0; load < kLoads; ++load)
      load_16_bytes(first + load * kWarp * kPerLoad<T>, part, load);
    return;
  }
#pragma unroll
  for (int load = 0; load < kLoads; ++load) {
    const int token = token_of<T>(tile, lane, load * kPerLoad<T>);
    if (row.aligned && token + kPerLoad<T> <= row.vocab) {
      load_16_bytes(row.logits + token, part, load);
      continue;
    }
#pragma unroll
    for (int i = 0; i < kPerLoad<T>; ++i)
      part.put(load * kPerLoad<T> + i,
               token + i < row.vocab ? raw_bits(row.logits[token + i]) : kNeverBits<T>);
  }
}

// The larger of two pairs of 16-bit numbers, one by one; NaN only where both are.
template <class T>
__device__ __forceinline__ uint32_t max_of_pairs(uint32_t a, uint32_t b) {
#ifdef UNMASK_SIMT
  uint32_t result = 0;
  for (int shift = 0; shift < 32; shift += 16) {
    const T x{static_cast<uint16_t>(a >> shift)}, y{static_cast<uint16_t>(b >> shift)};
    const float left = to_float(x), right = to_float(y);
    const bool first = left >= right || right != right;
    result |= static_cast<uint32_t>(first ? x.bits : y.bits) << shift;
  }
  return result;
#else
  uint32_t result;
  if constexpr (std::is_same_v<T, BFloat16>)
    asm("max.bf16x2 %0, %1, %2;" : "=r"(result) : "r"(a), "r"(b));
  else
    asm("max.f16x2 %0, %1, %2;" : "=r"(result) : "r"(a), "r"(b));
  return result;
#endif
}

// The largest logit of a part; -inf when nothing is usable.
template <class T>
__device__ __forceinline__ float largest(const TilePart<T>& part) {
  if constexpr (TilePart<T>::kInWord == 1) {
    float best = never();
#pragma unroll
    for (int i = 0; i < kPart; ++i) best = max(best, part.raw(i));
    return best;
  } else {
    uint32_t best = part.words[0];
#pragma unroll
    for (int w = 1; w < kPart / 2; ++w) best = max_of_pairs<T>(best, part.words[w]);
    float low, high;
    unpack_pair<T>(best, low, high);
    return max(max(low, high), never());
  }
}

// The largest of the whole warp's, in every lane; zero comes back as +0.
__device__ __forceinline__ float warp_largest(float logit) {
  return value_of_key(__reduce_max_sync(kWholeWarp, order_key(logit)));
}

// ---- suppressed tokens, as bits of shared memory ------------------------------------------------

// Bit v of `bits`: token first_tile * kTile + v is suppressed. The whole block calls it; `bits` are
// the words of `tiles` tiles. Ids outside are not ours, or nobody's. Ends with a barrier.
__device__ __forceinline__ void mark_suppressed(uint32_t* bits, int first_tile, int tiles,
                                                const int64_t* tokens, int64_t count) {
  for (int w = threadIdx.x; w < tiles * (kTile / kBitsPerWord); w += blockDim.x) bits[w] = 0;
  __syncthreads();
  const int64_t first = int64_t{first_tile} * kTile, size = int64_t{tiles} * kTile;
  for (int64_t i = threadIdx.x; i < count; i += blockDim.x) {
    const int64_t token = tokens[i];
    if (token >= first && token - first < size) set_bit(bits, static_cast<int>(token - first));
  }
  __syncthreads();
}

// `tile` counts from the tile where `bits` begin.
template <class T>
__device__ __forceinline__ void remove_suppressed(const uint32_t* bits, int tile, int lane,
                                                  TilePart<T>& part) {
#pragma unroll
  for (int load = 0; load < kPart / kPerLoad<T>; ++load) {
    const int first = token_of<T>(tile, lane, load * kPerLoad<T>);
    const uint32_t word = bits[first / kBitsPerWord] >> (first % kBitsPerWord);
    if ((word & ((1u << kPerLoad<T>)-1u)) == 0) continue;
#pragma unroll
    for (int i = 0; i < kPerLoad<T>; ++i)
      if (word >> i & 1u) part.remove(load * kPerLoad<T> + i);
  }
}

// ---- exponentials -------------------------------------------------------------------------------

// 2^t for t in [-126, 127], within 3e-7 relative; exactly 1 at 0. One instruction.
__device__ __forceinline__ float fast_exp2(float t) {
#ifdef UNMASK_SIMT
  return std::exp2(t);
#else
  float result;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(t));
  return result;
#endif
}

// 2^t for t <= 0, as precise, but far below float32's smallest number.
__device__ __forceinline__ double fast_exp2_wide(double t) {
  constexpr double kLowest = -1022.0;
  if (!(t >= kLowest)) return 0.0;
  const double whole = rint(t);
  const auto exponent = static_cast<uint64_t>(static_cast<int64_t>(whole) + 1023) << 52;
  double power;
  memcpy(&power, &exponent, sizeof power);
  return power * fast_exp2(static_cast<float>(t - whole));
}

// scale * log2(e), kept finite.
__device__ __forceinline__ float in_bits(float scale) {
  constexpr double kLog2e = 1.4426950408889634, kMost = 3.4028234663852886e38;
  return static_cast<float>(min(scale * kLog2e, kMost));
}

}  // namespace unmask::cuda
