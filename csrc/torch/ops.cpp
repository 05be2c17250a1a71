// Every operator this library adds to torch, and which backend serves it. Nothing else lives here.
#include "torch/ops.h"

#include <torch/library.h>

namespace unmask::torch_ops {

TORCH_LIBRARY(unmask, m) {
  m.def("independent_set(Tensor conflict, Tensor priority, *, Tensor? eligible=None) -> Tensor");
}

namespace {

void serve(torch::Library& m) { m.impl("independent_set", &independent_set); }

}  // namespace

TORCH_LIBRARY_IMPL(unmask, CPU, m) { serve(m); }
TORCH_LIBRARY_IMPL(unmask, CUDA, m) { serve(m); }

}  // namespace unmask::torch_ops
