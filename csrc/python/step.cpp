// The fused steps on numpy arrays.
#include <limits>
#include <variant>

#include "python/arrays.h"
#include "python/module.h"

namespace unmask::python {
namespace {

using OptionalArray = std::optional<py::array>;
using Seed = std::variant<int64_t, py::array>;  // one, or one per request

// The numbers and arrays that both steps take, by the names topk_confidence gives them.
struct Options {
  double temperature;
  int64_t top_k;
  double top_p;
  const std::string& sampler;
  double logit_scale;
  int64_t row_shift;
  int64_t row_offset;
  OptionalArray suppress_tokens;
  Seed seed;
  int64_t step;
};

// Fills in the numbers; returns the arrays, to be bound.
StepInputs prepare(StepArgs& args, py::array& tokens, const py::array& logits,
                   const py::array& positions, int64_t mask_id, const Options& options) {
  if (!tokens.writeable()) throw py::value_error("tokens must be writeable, got a read-only array");
  args.mask_id = mask_id;
  args.rows.logit_scale = static_cast<float>(options.logit_scale);
  args.rows.row_shift = options.row_shift;
  args.rows.row_offset = options.row_offset;
  args.sampling.temperature = static_cast<float>(options.temperature);
  args.sampling.top_k = options.top_k;
  args.sampling.top_p = options.top_p;
  args.sampling.step = options.step;
  OptionalArray request_seeds;
  if (const auto* one = std::get_if<int64_t>(&options.seed))
    args.sampling.seed = *one;
  else
    request_seeds = std::get<py::array>(options.seed);
  return {view("tokens", tokens),
          view("logits", logits),
          view("positions", positions),
          view("suppress_tokens", options.suppress_tokens),
          view("seed", request_seeds),
          {},
          options.sampler};
}

// Allocates what a bound step needs and runs it.
template <class Args>
py::tuple finish(Args& args, Status (*on_cpu)(const Args&, const Executor&)) {
  StepArgs& step = args.step;
  py::array_t<int32_t> committed(step.rows.batch), remaining(step.rows.batch);
  py::array_t<bool> selected({step.rows.batch, step.rows.nodes});
  py::array_t<double> workspace(step_workspace(args) / int64_t{sizeof(double)} + 2);
  const auto address = reinterpret_cast<uintptr_t>(workspace.mutable_data());
  step.workspace = reinterpret_cast<void*>((address + 15) / 16 * 16);
  step.committed = committed.mutable_data();
  step.remaining = remaining.mutable_data();
  step.selected = selected.mutable_data();
  run(args, on_cpu);
  return py::make_tuple(committed, remaining, selected);
}

py::tuple select_step_(py::array& tokens, const py::array& logits, const py::array& positions,
                       int64_t mask_id, const std::string& rule, double limit, double temperature,
                       int64_t top_k, double top_p, const std::string& sampler, double logit_scale,
                       int64_t row_shift, int64_t row_offset, const OptionalArray& suppress_tokens,
                       const Seed& seed, int64_t step) {
  SelectStepArgs args{};
  args.limit = limit;
  const StepInputs inputs = prepare(args.step, tokens, logits, positions, mask_id,
                                    {temperature, top_k, top_p, sampler, logit_scale, row_shift,
                                     row_offset, suppress_tokens, seed, step});
  raise_unless_ok(unmask::bind(args, inputs, rule));
  return finish(args, cpu::select_step);
}

py::tuple dapd_step_(py::array& tokens, const py::array& logits, const py::array& scores,
                     const py::array& positions, int64_t mask_id, const OptionalArray& gen_length,
                     double tau_min, double tau_max, const std::string& edge, bool normalize,
                     const std::string& order, std::optional<double> precommit,
                     const std::optional<std::string>& late, double late_threshold,
                     double late_progress, double temperature, int64_t top_k, double top_p,
                     const std::string& sampler, double logit_scale, int64_t row_shift,
                     int64_t row_offset, const OptionalArray& suppress_tokens, const Seed& seed,
                     int64_t step) {
  DapdStepArgs args{};
  args.tau_min = tau_min;
  args.tau_max = tau_max;
  args.normalize = normalize;
  args.precommit = static_cast<float>(precommit.value_or(std::numeric_limits<double>::infinity()));
  args.late_threshold = static_cast<float>(late_threshold);
  args.late_progress = static_cast<float>(late_progress);
  const StepInputs inputs = prepare(args.step, tokens, logits, positions, mask_id,
                                    {temperature, top_k, top_p, sampler, logit_scale, row_shift,
                                     row_offset, suppress_tokens, seed, step});
  raise_unless_ok(unmask::bind(args, inputs, view("scores", scores), view("gen_length", gen_length),
                               edge, order, late));
  return finish(args, cpu::dapd_step);
}

}  // namespace

void register_step(py::module_& m) {
  m.def("select_step_", &select_step_, py::arg("tokens"), py::arg("logits"), py::arg("positions"),
        py::kw_only(), py::arg("mask_id"), py::arg("rule"), py::arg("limit"),
        py::arg("temperature") = 0.0, py::arg("top_k") = 0, py::arg("top_p") = 1.0,
        py::arg("sampler") = "gumbel", py::arg("logit_scale") = 1.0, py::arg("row_shift") = 0,
        py::arg("row_offset") = 0, py::arg("suppress_tokens") = std::nullopt,
        py::arg("seed") = int64_t{0}, py::arg("step") = 0,
        "One step with a rule of `select`, in place: (committed, remaining, selected).");
  m.def("dapd_step_", &dapd_step_, py::arg("tokens"), py::arg("logits"), py::arg("scores"),
        py::arg("positions"), py::kw_only(), py::arg("mask_id"),
        py::arg("gen_length") = std::nullopt, py::arg("tau_min") = 0.01, py::arg("tau_max") = 0.15,
        py::arg("edge") = "rowmax", py::arg("normalize") = false,
        py::arg("order") = "degree*confidence", py::arg("precommit") = std::nullopt,
        py::arg("late") = std::nullopt, py::arg("late_threshold") = 0.9,
        py::arg("late_progress") = 0.5, py::arg("temperature") = 0.0, py::arg("top_k") = 0,
        py::arg("top_p") = 1.0, py::arg("sampler") = "gumbel", py::arg("logit_scale") = 1.0,
        py::arg("row_shift") = 0, py::arg("row_offset") = 0,
        py::arg("suppress_tokens") = std::nullopt, py::arg("seed") = int64_t{0},
        py::arg("step") = 0, "One step of DAPD, in place: (committed, remaining, selected).");
}

}  // namespace unmask::python
