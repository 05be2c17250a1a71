// Which row of the logits a node reads.
#pragma once

#include <cstdint>

#include "unmask/status.h"
#include "unmask/topk_confidence.h"

namespace unmask::cpu {

inline constexpr int64_t kPadding = -1;

// Where node `cell` (= batch index * nodes + node) stands.
inline int64_t position_of(const LogitRows& rows, int64_t cell) {
  return rows.positions ? rows.positions[cell] : rows.row_offset + cell % rows.nodes;
}

// The row that a position reads.
inline int64_t row_of(const LogitRows& rows, int64_t position) {
  const int64_t row = position - rows.row_shift - rows.row_offset;
  return row > 0 ? row : 0;
}

inline const void* row_at(const void* logits, DType type, int64_t elements) {
  return static_cast<const char*>(logits) + elements * (type == DType::kFloat32 ? 4 : 2);
}

// Every position exists: -1, or one whose row was handed over.
Status check_positions(const LogitRows& rows);

}  // namespace unmask::cpu
