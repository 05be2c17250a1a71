// Every operator this library adds to torch, and which backend serves it. Nothing else lives here.
#include "torch/ops.h"

#include <torch/library.h>

namespace unmask::torch_ops {

TORCH_LIBRARY(unmask, m) {
  m.def(
      "attention_scores(Tensor query, Tensor key, Tensor positions, *, float? scale=None, "
      "Tensor? lse=None, Tensor? attn_mask=None, bool is_causal=False, float weight=1.0) "
      "-> Tensor");
  m.def(
      "attention_scores_(Tensor(a!) out, Tensor query, Tensor key, Tensor positions, *, "
      "float? scale=None, Tensor? lse=None, Tensor? attn_mask=None, bool is_causal=False, "
      "float weight=1.0) -> ()");
  m.def("attention_scores_from_probs(Tensor probs, Tensor positions, *, float weight=1.0) -> Tensor");
  m.def(
      "attention_scores_from_probs_(Tensor(a!) out, Tensor probs, Tensor positions, *, "
      "float weight=1.0) -> ()");
  m.def(
      "dependency_graph(Tensor scores, Tensor positions, float tau, *, str edge='rowmax', "
      "bool normalize=False) -> (Tensor conflict, Tensor degree)");
  m.def(
      "dependency_graph.row_tau(Tensor scores, Tensor positions, Tensor tau, *, "
      "str edge='rowmax', bool normalize=False) -> (Tensor conflict, Tensor degree)");
  m.def("independent_set(Tensor conflict, Tensor priority, *, Tensor? eligible=None) -> Tensor");
}

namespace {

void serve(torch::Library& m) {
  m.impl("attention_scores", &attention_scores);
  m.impl("attention_scores_", &attention_scores_);
  m.impl("attention_scores_from_probs", &attention_scores_from_probs);
  m.impl("attention_scores_from_probs_", &attention_scores_from_probs_);
  m.impl("dependency_graph", &dependency_graph);
  m.impl("dependency_graph.row_tau", &dependency_graph_row_tau);
  m.impl("independent_set", &independent_set);
}

}  // namespace

TORCH_LIBRARY_IMPL(unmask, CPU, m) { serve(m); }
TORCH_LIBRARY_IMPL(unmask, CUDA, m) { serve(m); }

}  // namespace unmask::torch_ops
