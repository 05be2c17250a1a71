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
  m.def(
      "masked_positions(Tensor tokens, int mask_id, *, int start=0, int? stop=None, "
      "int? capacity=None, Tensor? row_start=None, Tensor? row_stop=None) -> Tensor");
  m.def("commit_(Tensor(a!) tokens, Tensor positions, Tensor token, Tensor selected) -> Tensor");
  m.def(
      "select(Tensor confidence, Tensor token, *, str rule, float limit, Tensor? entropy=None, "
      "Tensor? eligible=None, Tensor? positions=None, int seed=0, int step=0, "
      "Tensor? request_seeds=None, Tensor? device_step=None) -> Tensor");
  m.def(
      "dapd_select(Tensor confidence, Tensor token, Tensor conflict, Tensor degree, "
      "Tensor remaining, Tensor gen_length, *, str order='degree*confidence', "
      "float? precommit=None, str? late=None, float late_threshold=0.9, "
      "float late_progress=0.5) -> Tensor");
}

void serve(torch::Library& m) {
  m.impl("independent_set", &independent_set);
  m.impl("kl_divergence", &kl_divergence);
  m.impl("topk_confidence", &topk_confidence);
  m.impl("masked_positions", &masked_positions);
  m.impl("commit_", &commit_);
  m.impl("select", &select);
  m.impl("dapd_select", &dapd_select);
}

}  // namespace unmask::torch_ops
