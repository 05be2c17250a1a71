#pragma once

#include <string>

#include "unmask/status.h"

namespace unmask::cpu {

// Positions index into caller's memory: on the CPU a wrong one is an error, found before anything
// is written. (CUDA, which cannot look without waiting, treats it as padding.)
inline Status check_positions(const int32_t* positions, int64_t batch, int64_t nodes,
                              int64_t length) {
  for (int64_t cell = 0; cell < batch * nodes; ++cell)
    if (positions[cell] < -1 || positions[cell] >= length)
      return Status::invalid_argument("positions must be in -1.." + std::to_string(length - 1) +
                                      ", got " + std::to_string(positions[cell]) + " (row " +
                                      std::to_string(cell / nodes) + ", node " +
                                      std::to_string(cell % nodes) + ")");
  return Status::success();
}

}  // namespace unmask::cpu
