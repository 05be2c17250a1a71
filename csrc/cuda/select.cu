#include "unmask/select.h"

namespace unmask::cuda {

Status select(const SelectArgs&, Stream) {
  return Status::unsupported("select has no CUDA kernel yet: pass CPU tensors");
}

}  // namespace unmask::cuda
