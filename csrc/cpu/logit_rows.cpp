#include "cpu/logit_rows.h"

#include <string>

namespace unmask::cpu {

Status check_positions(const LogitRows& rows) {
  if (!rows.positions) return Status::success();
  for (int64_t cell = 0; cell < rows.batch * rows.nodes; ++cell) {
    const int64_t position = rows.positions[cell];
    if (position == kPadding || (position >= 0 && row_of(rows, position) < rows.rows)) continue;
    const int64_t last =
        rows.rows == 0 ? kPadding : rows.rows - 1 + rows.row_shift + rows.row_offset;
    return Status::invalid_argument("positions must be in -1.." + std::to_string(last) + ", got " +
                                    std::to_string(position));
  }
  return Status::success();
}

}  // namespace unmask::cpu
