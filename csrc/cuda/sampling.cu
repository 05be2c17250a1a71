#include "cuda/sampling.h"

namespace unmask::cuda {

Status draw_tokens(const TopKConfidenceArgs&, Stream) {
  return Status::unsupported("temperature > 0 has no CUDA kernel yet: pass CPU tensors");
}

}  // namespace unmask::cuda
