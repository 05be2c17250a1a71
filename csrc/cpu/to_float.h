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

// Exponent and mantissa move into place; infinities and subnormals need their own offset. Nothing
// on the way is subnormal as a float, so that a caller who flushes those to zero changes nothing.
UNMASK_INLINE float to_float(Float16 value) {
  const uint32_t magnitude = value.bits & 0x7fffu;
  const uint32_t moved = (magnitude << 13) + (112u << 23);
  const uint32_t normal = moved + (magnitude >= 0x7c00u ? 112u << 23 : 0u);
  const float subnormal = float_of_bits(moved + (1u << 23)) - float_of_bits(113u << 23);
  const uint32_t bits = magnitude < 0x400u ? bits_of_float(subnormal) : normal;
  return float_of_bits(bits | (value.bits & 0x8000u) << 16);
}

}  // namespace unmask::cpu
