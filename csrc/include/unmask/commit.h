#pragma once

#include <cstdint>

#include "unmask/executor.h"
#include "unmask/status.h"
#include "unmask/types.h"

namespace [[gnu::visibility("default")]] unmask {

// Reveal: write the chosen tokens into the sequence. A position outside [-1, length), or a token
// that `tokens` cannot hold, is refused on the CPU before anything is written, and left alone on
// CUDA, where nobody can be told.
struct CommitArgs {
  void* tokens;              // [batch, length]  in and out; int64 or int32
  const int32_t* positions;  // [batch, nodes]   -1 pads; distinct within a row
  const int64_t* token;      // [batch, nodes]   negative: never written
  const bool* selected;      // [batch, nodes]
  int32_t* committed;        // [batch]          out: how many were written
  DType token_type;
  int64_t token_stride;  // in elements
  int64_t batch;
  int64_t length;
  int64_t nodes;
};

Status validate(const CommitArgs& args);

namespace cpu {
Status commit(const CommitArgs& args, const Executor& executor = {});
}
namespace cuda {
Status commit(const CommitArgs& args, Stream stream);
}

}  // namespace unmask
