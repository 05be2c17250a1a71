// Float functions that give the same bits on every CPU and on CUDA: each operation is rounded once,
// in the order written, and nothing is taken from a math library. Decisions rest on them; where a
// result only has a tolerance, any other function will do.
#pragma once

#include <cstdint>
#include <cstring>

#include "core/host_device.h"

namespace unmask::exact {

// A compiler may not fuse these two into fma. On the host that is -ffp-contract=off.
UNMASK_HOST_DEVICE float mul(float a, float b) {
#ifdef __CUDA_ARCH__
  return __fmul_rn(a, b);
#else
  return a * b;
#endif
}

UNMASK_HOST_DEVICE float add(float a, float b) {
#ifdef __CUDA_ARCH__
  return __fadd_rn(a, b);
#else
  return a + b;
#endif
}

UNMASK_HOST_DEVICE int32_t bits_of(float value) {
  int32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

UNMASK_HOST_DEVICE float float_of(int32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

// c0 + c1 x + c2 x^2 + ..., by Horner.
UNMASK_HOST_DEVICE float polynomial(float, float c0) { return c0; }
template <class... Rest>
UNMASK_HOST_DEVICE float polynomial(float x, float c0, float c1, Rest... rest) {
  return add(mul(polynomial(x, c1, rest...), x), c0);
}

// 2^t for t in [-126, 127], within 3e-7 relative; exactly 1 at 0.
UNMASK_HOST_DEVICE float exp2(float t) {
  constexpr float kRounder = 0x1.8p23f + 127.0f;  // adding it leaves round(t) + 127 in the low bits
  const float shifted = add(t, kRounder);
  const float fraction = add(t, -add(shifted, -kRounder));
  const float power =
      polynomial(fraction, 1.0f, 0.6931471824645996f, 0.2402234822511673f, 0.055503569543361664f,
                 0.009666373953223228f, 0.0013390866806730628f);
  const auto exponent = static_cast<uint32_t>(bits_of(shifted)) << 23;
  return mul(power, float_of(static_cast<int32_t>(exponent)));
}

// log(2^exponent * (1 + f)) for f in [sqrt(1/2) - 1, sqrt(2) - 1].
UNMASK_HOST_DEVICE float log_of_parts(int32_t exponent, float f) {
  constexpr float kLog2High = 0.693145751953125f;  // times any exponent is exact
  constexpr float kLog2Low = 1.428606765330187e-06f;
  const float squared = mul(f, f);
  const float cubic = mul(mul(squared, f), polynomial(f, 0.333333283662796f, -0.25000298023223877f,
                                                      0.20001468062400818f, -0.16642247140407562f,
                                                      0.14202174544334412f, -0.12972238659858704f,
                                                      0.12712307274341583f, -0.08101558685302734f));
  const auto k = static_cast<float>(exponent);
  const float small = add(add(mul(k, kLog2Low), cubic), mul(squared, -0.5f));
  return add(mul(k, kLog2High), add(f, small));
}

// The exponent that leaves a mantissa in [sqrt(1/2), sqrt(2)).
UNMASK_HOST_DEVICE int32_t exponent_of(float positive) {
  return (bits_of(positive) - 0x3f3504f3) >> 23;
}

UNMASK_HOST_DEVICE float without_exponent(float positive, int32_t exponent) {
  const uint32_t moved = static_cast<uint32_t>(exponent) << 23;
  return float_of(static_cast<int32_t>(static_cast<uint32_t>(bits_of(positive)) - moved));
}

// Natural logarithm of a positive normal float.
UNMASK_HOST_DEVICE float log(float x) {
  const int32_t exponent = exponent_of(x);
  return log_of_parts(exponent, add(without_exponent(x, exponent), -1.0f));
}

// log(1 - u) for u in (0, 1), without losing the digits of a small u.
UNMASK_HOST_DEVICE float log1m(float u) {
  const float rest = add(1.0f, -u);
  const int32_t exponent = exponent_of(rest);
  const float f = add(without_exponent(rest, exponent), -1.0f);
  return log_of_parts(exponent, exponent == 0 ? -u : f);
}

}  // namespace unmask::exact
