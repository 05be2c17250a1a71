#include "unmask/step.h"

namespace unmask::cuda {

Status select_step(const SelectStepArgs&, Stream) {
  return Status::unsupported("select_step_ has no CUDA kernel yet: pass CPU tensors");
}
Status dapd_step(const DapdStepArgs&, Stream) {
  return Status::unsupported("dapd_step_ has no CUDA kernel yet: pass CPU tensors");
}

}  // namespace unmask::cuda
