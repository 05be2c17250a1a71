// The floating types of models as float32, by bit patterns: no compiler support for half types is
// needed, and the loops around it vectorise.
#pragma once

#include <cstdint>
#include <cstring>

#include "cpu/multiversion.h"

namespace unmask::cpu {

struct BFloat16 {
  uint16_t bits;
};

struct Float16 {
  uint16_t bits;
};

UNMASK_INLINE float float_of_bits(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

UNMASK_INLINE uint32_t bits_of_float(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

UNMASK_INLINE float to_float(float value) { return value; }

UNMASK_INLINE float to_float(BFloat16 value) {
  return float_of_bits(static_cast<uint32_t>(value.bits) << 16);
}

// A half's exponent and fraction, shifted into a float, read as a value 2^112 too small,
// subnormals included. Infinities and NaN carry the largest exponent and are given the float's.
UNMASK_INLINE float to_float(Float16 value) {
  const uint32_t magnitude = (value.bits & 0x7fffu) << 13;
  const uint32_t sign = (value.bits & 0x8000u) << 16;
  const uint32_t finite = bits_of_float(float_of_bits(magnitude) * 0x1p112f);
  const uint32_t infinite = magnitude | 0x7f800000u;
  return float_of_bits((magnitude < 0x0f800000u ? finite : infinite) | sign);
}

}  // namespace unmask::cpu
