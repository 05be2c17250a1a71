// CUDA's scalar functions, with CUDA's own argument types and no more.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "vector_types.h"

// ---- bits ---------------------------------------------------------------------------------------
inline int __popc(unsigned value) { return __builtin_popcount(value); }
inline int __popcll(unsigned long long value) { return __builtin_popcountll(value); }
inline int __ffs(int value) { return __builtin_ffs(value); }
inline int __ffsll(long long value) { return __builtin_ffsll(value); }
inline int __clz(int value) { return value ? __builtin_clz(static_cast<unsigned>(value)) : 32; }
inline int __clzll(long long value) {
  return value ? __builtin_clzll(static_cast<unsigned long long>(value)) : 64;
}
inline unsigned __brev(unsigned value) {
  unsigned reversed = 0;
  for (int bit = 0; bit < 32; ++bit) reversed |= (value >> bit & 1) << (31 - bit);
  return reversed;
}
inline unsigned __umulhi(unsigned a, unsigned b) {
  return static_cast<unsigned>(static_cast<uint64_t>(a) * b >> 32);
}
inline int __mulhi(int a, int b) { return static_cast<int>(static_cast<int64_t>(a) * b >> 32); }
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
  return static_cast<unsigned long long>(static_cast<unsigned __int128>(a) * b >> 64);
}
inline unsigned __funnelshift_l(unsigned low, unsigned high, unsigned shift) {
  const uint64_t both = static_cast<uint64_t>(high) << 32 | low;
  return static_cast<unsigned>(both << (shift & 31) >> 32);
}
inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned shift) {
  const uint64_t both = static_cast<uint64_t>(high) << 32 | low;
  return static_cast<unsigned>(both >> (shift & 31));
}

namespace simt {
template <class To, class From>
To bit_copy(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(&to, &from, sizeof to);
  return to;
}
}  // namespace simt
inline float __uint_as_float(unsigned bits) { return simt::bit_copy<float>(bits); }
inline float __int_as_float(int bits) { return simt::bit_copy<float>(bits); }
inline unsigned __float_as_uint(float value) { return simt::bit_copy<unsigned>(value); }
inline int __float_as_int(float value) { return simt::bit_copy<int>(value); }

// ---- arithmetic: IEEE where CUDA promises it, close where CUDA only approximates ----------------
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __frcp_rn(float a) { return 1.0f / a; }
inline float __fsqrt_rn(float a) { return std::sqrt(a); }
inline float __fmaf_rn(float a, float b, float c) { return std::fma(a, b, c); }
inline double __dadd_rn(double a, double b) { return a + b; }
inline double __dmul_rn(double a, double b) { return a * b; }
inline float __expf(float value) { return std::exp(value); }
inline float __logf(float value) { return std::log(value); }
inline float __log2f(float value) { return std::log2(value); }
inline float __fdividef(float a, float b) { return a / b; }
inline float rsqrtf(float value) { return 1.0f / std::sqrt(value); }
inline float __saturatef(float value) {
  return value > 0.0f ? (value < 1.0f ? value : 1.0f) : 0.0f;
}
inline int __float2int_rn(float value) { return static_cast<int>(std::nearbyint(value)); }
inline int __float2int_rd(float value) { return static_cast<int>(std::floor(value)); }
inline float __int2float_rn(int value) { return static_cast<float>(value); }
inline float __uint2float_rn(unsigned value) { return static_cast<float>(value); }

#define SIMT_MIN_MAX(type)                                  \
  inline type min(type a, type b) { return b < a ? b : a; } \
  inline type max(type a, type b) { return a < b ? b : a; }
SIMT_MIN_MAX(int)
SIMT_MIN_MAX(unsigned)
SIMT_MIN_MAX(long)
SIMT_MIN_MAX(unsigned long)
SIMT_MIN_MAX(long long)
SIMT_MIN_MAX(unsigned long long)
#undef SIMT_MIN_MAX
inline float min(float a, float b) { return std::fmin(a, b); }
inline float max(float a, float b) { return std::fmax(a, b); }
inline double min(double a, double b) { return std::fmin(a, b); }
inline double max(double a, double b) { return std::fmax(a, b); }

// ---- loads and stores with a cache hint ---------------------------------------------------------
#define SIMT_LOADS(type)                                              \
  inline type __ldg(const type* address) { return *address; }         \
  inline type __ldcg(const type* address) { return *address; }        \
  inline type __ldcs(const type* address) { return *address; }        \
  inline void __stcg(type* address, type value) { *address = value; } \
  inline void __stcs(type* address, type value) { *address = value; }
SIMT_LOADS(char)
SIMT_LOADS(signed char)
SIMT_LOADS(unsigned char)
SIMT_LOADS(short)
SIMT_LOADS(unsigned short)
SIMT_LOADS(int)
SIMT_LOADS(unsigned)
SIMT_LOADS(long)
SIMT_LOADS(unsigned long)
SIMT_LOADS(long long)
SIMT_LOADS(unsigned long long)
SIMT_LOADS(float)
SIMT_LOADS(double)
SIMT_LOADS(int2)
SIMT_LOADS(uint2)
SIMT_LOADS(float2)
SIMT_LOADS(int4)
SIMT_LOADS(uint4)
SIMT_LOADS(float4)
#undef SIMT_LOADS
