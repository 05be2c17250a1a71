#include "unmask/dapd_select.h"

namespace unmask::cuda {

Status dapd_select(const DapdSelectArgs&, Stream) {
  return Status::unsupported("dapd_select has no CUDA kernel yet: pass CPU tensors");
}

}  // namespace unmask::cuda
