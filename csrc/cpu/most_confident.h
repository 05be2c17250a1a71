#pragma once

#include <cstdint>

#include "core/float_order.h"

namespace unmask::cpu {

// The node with a token of highest confidence, ties to the lower one, NaN last; -1: none has one.
// Every selection falls back to it, so that every step makes progress.
inline int64_t most_confident(const float* confidence, const int64_t* token, int64_t nodes) {
  int64_t best = -1;
  for (int64_t i = 0; i < nodes; ++i)
    if (token[i] >= 0 && (best < 0 || order_key(confidence[i]) > order_key(confidence[best])))
      best = i;
  return best;
}

}  // namespace unmask::cpu
