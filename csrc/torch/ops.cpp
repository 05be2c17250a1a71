// Every operator this library adds to torch. Nothing else lives here.
#include "torch/ops.h"

#include <torch/library.h>

namespace unmask::torch_ops {

void define(torch::Library& m) {
  m.def("independent_set(Tensor conflict, Tensor priority, *, Tensor? eligible=None) -> Tensor");
}

void serve(torch::Library& m) { m.impl("independent_set", &independent_set); }

}  // namespace unmask::torch_ops
