#pragma once

#include <cstdint>

#include "unmask/executor.h"
#include "unmask/status.h"
#include "unmask/types.h"

namespace [[gnu::visibility("default")]] unmask {

// One conflict graph too large for bits: compressed sparse rows.
struct IndependentSetCsrArgs {
  const void* indptr;  // [nodes + 1]  int32 or int64; row i is indices[indptr[i]..indptr[i + 1])
  const int32_t* indices;  // [entries]    row i lists who, once taken, excludes i
  const float* priority;   // [nodes]      higher is visited first, NaN last
  const bool* eligible;    // [nodes]      who may be taken; null: everyone
  bool* selected;          // [nodes]      out
  void* workspace;         // as many bytes as its backend asks for below, 16-byte aligned
  DType indptr_type;
  int64_t nodes;  // <= 2^31 - 1
  int64_t entries;
  bool symmetric;  // j in row i means i in row j; the caller's promise, and faster on the CPU: only
                   // rows of nodes that are taken are read, as the lists of whom they exclude
};

Status validate(const IndependentSetCsrArgs& args);

// Scratch of each backend, in bytes.
int64_t independent_set_csr_workspace(const IndependentSetCsrArgs& args);
int64_t independent_set_csr_cuda_workspace(const IndependentSetCsrArgs& args);

// The same scan as independent_set. An index outside [0, nodes), or a row outside [0, entries], is
// an error on the CPU if the scan meets it, and ignored on CUDA.
namespace cpu {
Status independent_set_csr(const IndependentSetCsrArgs& args, const Executor& executor = {});
}
namespace cuda {
Status independent_set_csr(const IndependentSetCsrArgs& args, Stream stream);
}

}  // namespace unmask
