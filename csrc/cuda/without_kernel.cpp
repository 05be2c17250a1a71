// The operators that have no CUDA kernel yet, in a build with CUDA: every call says so.
#include "unmask/unmask.h"

namespace unmask::cuda {
namespace {

Status no_kernel(const char* name) {
  return Status::unsupported(std::string(name) + " has no CUDA kernel yet: pass CPU tensors");
}

}  // namespace

Status topk_confidence(const TopKConfidenceArgs&, Stream) { return no_kernel("topk_confidence"); }
Status kl_divergence(const KlDivergenceArgs&, Stream) { return no_kernel("kl_divergence"); }
Status attention_scores(const AttentionScoresArgs&, Stream) {
  return no_kernel("attention_scores");
}
Status attention_scores_from_probs(const AttentionScoresFromProbsArgs&, Stream) {
  return no_kernel("attention_scores_from_probs");
}
Status dependency_graph(const DependencyGraphArgs&, Stream) {
  return no_kernel("dependency_graph");
}
Status independent_set_csr(const IndependentSetCsrArgs&, Stream) {
  return no_kernel("independent_set_csr");
}
Status select(const SelectArgs&, Stream) { return no_kernel("select"); }
Status dapd_select(const DapdSelectArgs&, Stream) { return no_kernel("dapd_select"); }
Status select_step(const SelectStepArgs&, Stream) { return no_kernel("select_step_"); }
Status dapd_step(const DapdStepArgs&, Stream) { return no_kernel("dapd_step_"); }

}  // namespace unmask::cuda
