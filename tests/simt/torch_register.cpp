// torch.ops.unmask_simt.*: CPU tensors in, emulated kernels behind.
#include <torch/library.h>

#include "torch/ops.h"

TORCH_LIBRARY(unmask_simt, m) { unmask::torch_ops::define(m); }
TORCH_LIBRARY_IMPL(unmask_simt, CPU, m) { unmask::torch_ops::serve(m); }
