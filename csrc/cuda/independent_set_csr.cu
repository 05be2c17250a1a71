#include "unmask/independent_set_csr.h"

namespace unmask::cuda {

Status independent_set_csr(const IndependentSetCsrArgs&, Stream) {
  return Status::unsupported("independent_set_csr has no CUDA kernel yet: pass CPU tensors");
}

}  // namespace unmask::cuda
