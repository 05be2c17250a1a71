// Philox4x32-10: random numbers as a function of where they are used, not of what was drawn before.
// Source: Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
#pragma once

#include <array>
#include <cstdint>

namespace unmask {

struct Philox {
  using Counter = std::array<uint32_t, 4>;
  using Key = std::array<uint32_t, 2>;

  static constexpr Counter at(Counter x, Key key) {
    for (int round = 0; round < 10; ++round) {
      const uint64_t even = uint64_t{0xD2511F53u} * x[0];
      const uint64_t odd = uint64_t{0xCD9E8D57u} * x[2];
      x = {high(odd) ^ x[1] ^ key[0], low(odd), high(even) ^ x[3] ^ key[1], low(even)};
      key = {key[0] + 0x9E3779B9u, key[1] + 0xBB67AE85u};
    }
    return x;
  }

  // A 64-bit seed is the whole key.
  static constexpr Key key_of(int64_t seed) {
    return {low(static_cast<uint64_t>(seed)), high(static_cast<uint64_t>(seed))};
  }

 private:
  static constexpr uint32_t low(uint64_t wide) { return static_cast<uint32_t>(wide); }
  static constexpr uint32_t high(uint64_t wide) { return static_cast<uint32_t>(wide >> 32); }
};

}  // namespace unmask
