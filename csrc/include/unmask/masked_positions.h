#pragma once

#include <cstdint>

#include "unmask/executor.h"
#include "unmask/status.h"
#include "unmask/types.h"

namespace [[gnu::visibility("default")]] unmask {

// Where the masks are: the nodes of this step, numbered 0..capacity-1 by their slot. Bounds in
// device memory cannot be judged without a synchronisation; they are clamped to [0, length].
struct MaskedPositionsArgs {
  const void* tokens;        // [batch, length]  int64 or int32, rows `token_stride` apart
  const int64_t* row_start;  // [batch]          first position looked at; null: `start`
  const int64_t* row_stop;   // [batch]          one past the last; null: `stop`
  int32_t* positions;        // [batch, capacity]  out: ascending, padded with -1
  DType token_type;
  int64_t token_stride;  // in elements
  int64_t mask_id;
  int64_t start;
  int64_t stop;
  int64_t batch;
  int64_t length;
  int64_t capacity;  // masks beyond it are left out
};

Status validate(const MaskedPositionsArgs& args);

namespace cpu {
Status masked_positions(const MaskedPositionsArgs& args, const Executor& executor = {});
}
namespace cuda {
Status masked_positions(const MaskedPositionsArgs& args, Stream stream);
}

}  // namespace unmask
