// Floats as integers that sort the same way: the one total order of the library.
#pragma once

#include <cstdint>
#include <cstring>

#include "core/host_device.h"

namespace unmask {

// Larger key, larger value. -0 equals +0; every NaN is below -inf.
UNMASK_HOST_DEVICE uint32_t order_key(float value) {
  if (value != value) return 0;
  value += 0.0f;  // -0 becomes +0
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  const uint32_t negative = bits >> 31;
  return bits ^ (-negative | 0x80000000u);
}

// The value that has this key; zero comes back as +0.
UNMASK_HOST_DEVICE float value_of_key(uint32_t key) {
  const uint32_t bits = key & 0x80000000u ? key & 0x7fffffffu : ~key;
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

// Sorting these ascending visits values in descending order, ties to the lower index.
UNMASK_HOST_DEVICE uint64_t rank_key(float value, uint32_t index) {
  return static_cast<uint64_t>(~order_key(value)) << 32 | index;
}

}  // namespace unmask
