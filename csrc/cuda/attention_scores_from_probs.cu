#include "unmask/attention_scores.h"

namespace unmask::cuda {

Status attention_scores_from_probs(const AttentionScoresFromProbsArgs&, Stream) {
  return Status::unsupported("attention_scores_from_probs has no CUDA kernel yet: pass CPU tensors");
}

}  // namespace unmask::cuda
