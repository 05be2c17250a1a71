// Philox4x32-10: random words as a pure function of a counter and a key, so that a draw depends on
// what is drawn and not on who draws it, when, or together with what.
// Source: Salmon, Moraes, Dror and Shaw, "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011.
#pragma once

#include <cstdint>

#include "core/exact_math.h"

namespace unmask {

struct PhiloxKey {
  uint32_t low, high;
};

struct PhiloxBlock {  // counter in, four random words out
  uint32_t word[4];
};

UNMASK_HOST_DEVICE PhiloxBlock philox_round(const PhiloxBlock& in, const PhiloxKey& key) {
  const uint64_t first = uint64_t{0xd2511f53u} * in.word[0];
  const uint64_t second = uint64_t{0xcd9e8d57u} * in.word[2];
  return {
      {static_cast<uint32_t>(second >> 32) ^ in.word[1] ^ key.low, static_cast<uint32_t>(second),
       static_cast<uint32_t>(first >> 32) ^ in.word[3] ^ key.high, static_cast<uint32_t>(first)}};
}

// Ten rounds. Recursion instead of a loop, so that the CPU's compiler sees straight code and does
// many counters at once.
template <int kRounds = 10>
UNMASK_HOST_DEVICE PhiloxBlock philox(const PhiloxBlock& counter, const PhiloxKey& key) {
  if constexpr (kRounds == 0)
    return counter;
  else
    return philox<kRounds - 1>(philox_round(counter, key),
                               {key.low + 0x9e3779b9u, key.high + 0xbb67ae85u});
}

}  // namespace unmask
