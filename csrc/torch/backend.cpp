// Which half of the core serves a tensor, and on which stream. No CUDA header: torch's own device
// interface knows the stream, also in a build of torch without CUDA.
#include <c10/core/impl/VirtualGuardImpl.h>

#include "torch/tensors.h"

namespace unmask::torch_ops {

bool on_cpu(const at::Tensor& tensor) { return tensor.is_cpu(); }

Stream stream_of(const at::Tensor& tensor) {
  const c10::impl::VirtualGuardImpl guard(tensor.device().type());
  return static_cast<Stream>(guard.getStream(tensor.device()).native_handle());
}

}  // namespace unmask::torch_ops
