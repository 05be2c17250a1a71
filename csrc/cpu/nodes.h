#pragma once

#include <cstdint>

#include "unmask/types.h"

namespace unmask::cpu {

// The nodes of one batch row that exist, without the padding: what is computed for them then
// does not depend on how far the batch was padded.
struct ExistingNodes {
  int64_t count = 0;
  int32_t slot[kMaxNodes];      // in `positions`
  int32_t position[kMaxNodes];  // in the sequence

  ExistingNodes(const int32_t* positions, int64_t nodes) {
    for (int64_t n = 0; n < nodes; ++n)
      if (positions[n] >= 0) {
        slot[count] = static_cast<int32_t>(n);
        position[count++] = positions[n];
      }
  }
};

}  // namespace unmask::cpu
