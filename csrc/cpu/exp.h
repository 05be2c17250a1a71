#pragma once

#include <cstdint>

#include "cpu/to_float.h"

namespace unmask::cpu {

// e^x within 2 units in the last place, in loops that vectorise; 0 below the smallest normal float
// (so for -inf), inf above the largest. x must not be NaN.
// Cody-Waite reduction to [-ln2/2, ln2/2] and a polynomial of degree 6 (Cephes, S. Moshier).
UNMASK_INLINE float fast_exp(float x) {
  constexpr float kRound = 0x1.8p23f;  // adding it rounds to an integer
  const float clamped = x < -87.0f ? -87.0f : (x > 89.0f ? 89.0f : x);
  const float n = (clamped * 1.44269504f + kRound) - kRound;
  const float r = (clamped - n * 0.693359375f) - n * -2.12194440e-4f;  // ln 2 in two parts
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = (p * (r * r) + r) + 1.0f;
  const float power = float_of_bits(static_cast<uint32_t>(static_cast<int32_t>(n) + 127) << 23);
  return x < -87.0f ? 0.0f : p * power;
}

}  // namespace unmask::cpu
