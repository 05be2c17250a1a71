// Floats as integers that sort the same way: the one total order of the library.
#pragma once

#include <cstdint>
#include <cstring>

#include "core/host_device.h"

namespace unmask {

// Larger key, larger value. -0 equals +0; every NaN is below -inf.
UNMASK_HOST_DEVICE inline uint32_t order_key(float value) {
  if (value != value) return 0;
  value += 0.0f;  // -0 becomes +0
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

// Sorting these ascending visits values in descending order, ties to the lower index.
UNMASK_HOST_DEVICE inline uint64_t rank_key(float value, uint32_t index) {
  return static_cast<uint64_t>(~order_key(value)) << 32 | index;
}

}  // namespace unmask
