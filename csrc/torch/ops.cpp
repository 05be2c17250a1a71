// Every operator this library adds to torch. Nothing else lives here.
#include "torch/ops.h"

#include <torch/library.h>

namespace unmask::torch_ops {

void define(torch::Library& m) {
  m.def("independent_set(Tensor conflict, Tensor priority, *, Tensor? eligible=None) -> Tensor");
  m.def(
      "kl_divergence(Tensor logits, Tensor previous, Tensor? positions=None, *, "
      "float logit_scale=1.0, int row_shift=0, int row_offset=0) -> Tensor");
  m.def(
      "topk_confidence(Tensor logits, Tensor? positions=None, *, int k=1, float temperature=0.0, "
      "int top_k=0, float top_p=1.0, float logit_scale=1.0, int row_shift=0, int row_offset=0, "
      "Tensor? suppress_tokens=None, int seed=0, int step=0, Tensor? request_seeds=None, "
      "Tensor? device_step=None) -> (Tensor token, Tensor confidence, Tensor ids, Tensor probs, "
      "Tensor entropy, Tensor logsumexp)");
}

void serve(torch::Library& m) {
  m.impl("independent_set", &independent_set);
  m.impl("kl_divergence", &kl_divergence);
  m.impl("topk_confidence", &topk_confidence);
}

}  // namespace unmask::torch_ops
