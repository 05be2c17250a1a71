#include "unmask/attention_scores.h"

namespace unmask::cuda {

Status attention_scores(const AttentionScoresArgs&, Stream) {
  return Status::unsupported("attention_scores has no CUDA kernel yet: pass CPU tensors");
}

}  // namespace unmask::cuda
