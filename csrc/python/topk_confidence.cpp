// topk_confidence and kl_divergence on numpy arrays.
#include <variant>

#include "python/arrays.h"
#include "python/module.h"

namespace unmask::python {
namespace {

using OptionalArray = std::optional<py::array>;

py::tuple topk_confidence(const py::array& logits, const OptionalArray& positions, int64_t k,
                          double temperature, int64_t top_k, double top_p,
                          const std::string& sampler, double logit_scale, int64_t row_shift,
                          int64_t row_offset, const OptionalArray& suppress_tokens,
                          const std::variant<int64_t, py::array>& seed, int64_t step) {
  TopKConfidenceArgs args{};
  args.k = k;
  args.sampling.temperature = static_cast<float>(temperature);
  args.sampling.top_k = top_k;
  args.sampling.top_p = top_p;
  args.sampling.step = step;
  args.rows.logit_scale = static_cast<float>(logit_scale);
  args.rows.row_shift = row_shift;
  args.rows.row_offset = row_offset;
  OptionalArray request_seeds;
  if (const auto* one = std::get_if<int64_t>(&seed))
    args.sampling.seed = *one;
  else
    request_seeds = std::get<py::array>(seed);
  raise_unless_ok(bind(args, view("logits", logits), view("positions", positions),
                       view("suppress_tokens", suppress_tokens), view("seed", request_seeds), {},
                       sampler));

  const int64_t batch = args.rows.batch, nodes = args.rows.nodes;
  py::array_t<int64_t> token({batch, nodes}), ids({batch, nodes, k});
  py::array_t<float> confidence({batch, nodes}), probs({batch, nodes, k});
  py::array_t<float> entropy({batch, nodes}), logsumexp({batch, nodes});
  args.token = token.mutable_data();
  args.confidence = confidence.mutable_data();
  args.ids = ids.mutable_data();
  args.probs = probs.mutable_data();
  args.entropy = entropy.mutable_data();
  args.logsumexp = logsumexp.mutable_data();
  run(args, cpu::topk_confidence);
  return py::make_tuple(token, confidence, ids, probs, entropy, logsumexp);
}

py::array kl_divergence(const py::array& logits, const py::array& previous,
                        const OptionalArray& positions, double logit_scale, int64_t row_shift,
                        int64_t row_offset) {
  KlDivergenceArgs args{};
  args.rows.logit_scale = static_cast<float>(logit_scale);
  args.rows.row_shift = row_shift;
  args.rows.row_offset = row_offset;
  raise_unless_ok(
      bind(args, view("logits", logits), view("previous", previous), view("positions", positions)));
  py::array_t<float> divergence({args.rows.batch, args.rows.nodes});
  args.divergence = divergence.mutable_data();
  run(args, cpu::kl_divergence);
  return divergence;
}

}  // namespace

void register_topk_confidence(py::module_& m) {
  m.def("topk_confidence", &topk_confidence, py::arg("logits"), py::arg("positions") = std::nullopt,
        py::kw_only(), py::arg("k") = 1, py::arg("temperature") = 0.0, py::arg("top_k") = 0,
        py::arg("top_p") = 1.0, py::arg("sampler") = "gumbel", py::arg("logit_scale") = 1.0,
        py::arg("row_shift") = 0, py::arg("row_offset") = 0,
        py::arg("suppress_tokens") = std::nullopt, py::arg("seed") = int64_t{0},
        py::arg("step") = 0);
  m.def("kl_divergence", &kl_divergence, py::arg("logits"), py::arg("previous"),
        py::arg("positions") = std::nullopt, py::kw_only(), py::arg("logit_scale") = 1.0,
        py::arg("row_shift") = 0, py::arg("row_offset") = 0);
}

}  // namespace unmask::python
