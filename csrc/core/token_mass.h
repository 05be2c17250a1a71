// What a token weighs where a decision rests on sums: an integer, so that no order of summation
// matters, and the same one on every machine.
#pragma once

#include <cstdint>

#include "core/exact_math.h"

namespace unmask {

// floor(2^42 * exp(factor * (x - max))): the probability of logit x, unnormalised. 2^20 tokens
// cannot overflow. What falls below 2^-42 of the most probable token is 0; all of that together is
// less than 2^-22 of the whole.
struct TokenMass {
  static constexpr float kLog2E = 1.44269502f;
  static constexpr float kOne = 0x1p42f;

  float max;  // of the row
  float factor_log2;

  UNMASK_HOST_DEVICE TokenMass(float max, float factor)
      : max(max), factor_log2(exact::mul(factor, kLog2E)) {}

  UNMASK_HOST_DEVICE static uint64_t of_power(float power) {
    return static_cast<uint64_t>(static_cast<int64_t>(exact::mul(power, kOne)));
  }

  // Of any logit up to `max`, -inf included.
  UNMASK_HOST_DEVICE uint64_t of(float logit) const {
    const float t = exact::mul(exact::add(logit, -max), factor_log2);
    return t > -126.0f ? of_power(exact::exp2(t)) : 0;
  }
};

}  // namespace unmask
