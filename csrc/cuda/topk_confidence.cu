#include "unmask/topk_confidence.h"

namespace unmask::cuda {

Status topk_confidence(const TopKConfidenceArgs&, Stream) {
  return Status::unsupported("topk_confidence has no CUDA kernel yet: pass CPU tensors");
}

}  // namespace unmask::cuda
