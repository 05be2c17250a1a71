#include "cpu/logit_rows.h"

#include "cpu/check_positions.h"

namespace unmask::cpu {

Status check_positions(const LogitRows& rows) {
  if (!rows.positions) return Status::success();
  const int64_t reach = rows.rows == 0 ? 0 : rows.rows + rows.row_shift + rows.row_offset;
  return check_positions(rows.positions, rows.batch, rows.nodes, reach);
}

}  // namespace unmask::cpu
