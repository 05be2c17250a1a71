// torch.ops.unmask.*, on CPU and CUDA tensors. A build without CUDA registers the latter as well:
// the core then says what is missing.
#include <torch/library.h>

#include "torch/ops.h"

TORCH_LIBRARY(unmask, m) { unmask::torch_ops::define(m); }
TORCH_LIBRARY_IMPL(unmask, CPU, m) { unmask::torch_ops::serve(m); }
TORCH_LIBRARY_IMPL(unmask, CUDA, m) { unmask::torch_ops::serve(m); }
TORCH_LIBRARY_IMPL(unmask, Autograd, m) { unmask::torch_ops::have_no_gradient(m); }
