#pragma once

#include <algorithm>

#include "cpu/nodes.h"

namespace unmask::cpu {

// One finished row of scores, spread to the slots of its nodes; padding columns stay or become 0.
inline void store_scores(const ExistingNodes& nodes, const float* sums, float factor,
                         bool accumulate, int64_t capacity, float* scores) {
  if (!accumulate) std::fill_n(scores, capacity, 0.0f);
  for (int64_t c = 0; c < nodes.count; ++c) scores[nodes.slot[c]] += factor * sums[c];
}

// The rows of nodes that do not exist, among the slots [first, end).
inline void clear_padding_rows(const int32_t* positions, int64_t first, int64_t end,
                               int64_t capacity, float* scores) {
  for (int64_t n = first; n < end; ++n)
    if (positions[n] < 0) std::fill_n(scores + n * capacity, capacity, 0.0f);
}

}  // namespace unmask::cpu
