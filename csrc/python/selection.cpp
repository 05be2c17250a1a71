// Which nodes there are, which of them may be revealed, and revealing them: on numpy arrays.
#include <limits>
#include <variant>

#include "python/arrays.h"
#include "python/module.h"

namespace unmask::python {
namespace {

using OptionalArray = std::optional<py::array>;

// A number, or an array with one value per row.
using Bound = std::variant<int64_t, py::array>;

struct BoundParts {
  std::optional<int64_t> number;
  OptionalArray rows;
};

BoundParts parts_of(const std::optional<Bound>& bound) {
  BoundParts parts;
  if (!bound) return parts;
  if (const auto* number = std::get_if<int64_t>(&*bound)) parts.number = *number;
  if (const auto* rows = std::get_if<py::array>(&*bound)) parts.rows = *rows;
  return parts;
}

py::array masked_positions(const py::array& tokens, int64_t mask_id, const Bound& start,
                           const std::optional<Bound>& stop, std::optional<int64_t> capacity) {
  const BoundParts first = parts_of(start), last = parts_of(stop);
  MaskedPositionsArgs args{};
  args.mask_id = mask_id;
  raise_unless_ok(unmask::bind(args, view("tokens", tokens),
                               {.start = first.number.value_or(0),
                                .stop = last.number,
                                .capacity = capacity,
                                .row_start = view("start", first.rows),
                                .row_stop = view("stop", last.rows)}));
  py::array_t<int32_t> positions({args.batch, args.capacity});
  args.positions = positions.mutable_data();
  run(args, cpu::masked_positions);
  return positions;
}

py::array commit_(py::array& tokens, const py::array& positions, const py::array& token,
                  const py::array& selected) {
  if (!tokens.writeable()) throw py::value_error("tokens must be writeable, got a read-only array");
  CommitArgs args{};
  raise_unless_ok(unmask::bind(args, view("tokens", tokens), view("positions", positions),
                               view("token", token), view("selected", selected)));
  py::array_t<int32_t> committed(args.batch);
  args.committed = committed.mutable_data();
  run(args, cpu::commit);
  return committed;
}

py::array select(const py::array& confidence, const py::array& token, const std::string& rule,
                 double limit, const OptionalArray& entropy, const OptionalArray& eligible,
                 const OptionalArray& positions, const Bound& seed, int64_t step) {
  const BoundParts seeds = parts_of(seed);
  SelectArgs args{};
  args.limit = limit;
  args.seed = seeds.number.value_or(0);
  args.step = step;
  raise_unless_ok(unmask::bind(args, view("confidence", confidence), view("token", token), rule,
                               view("entropy", entropy), view("eligible", eligible),
                               view("positions", positions), view("seed", seeds.rows), {}));
  py::array_t<bool> selected({args.batch, args.nodes});
  args.selected = selected.mutable_data();
  run(args, cpu::select);
  return selected;
}

py::array dapd_select(const py::array& confidence, const py::array& token,
                      const py::array& conflict, const py::array& degree,
                      const py::array& remaining, const py::array& gen_length,
                      const std::string& order, std::optional<double> precommit,
                      const std::optional<std::string>& late, double late_threshold,
                      double late_progress) {
  DapdSelectArgs args{};
  args.precommit = static_cast<float>(precommit.value_or(std::numeric_limits<double>::infinity()));
  args.late_threshold = static_cast<float>(late_threshold);
  args.late_progress = static_cast<float>(late_progress);
  raise_unless_ok(unmask::bind(args, view("confidence", confidence), view("token", token),
                               view("conflict", conflict), view("degree", degree),
                               view("remaining", remaining), view("gen_length", gen_length), order,
                               late));
  py::array_t<bool> selected({args.batch, args.nodes});
  py::array_t<float> priority({args.batch, args.nodes});
  py::array_t<bool> eligible({args.batch, args.nodes});
  args.selected = selected.mutable_data();
  args.priority = priority.mutable_data();
  args.eligible = eligible.mutable_data();
  run(args, cpu::dapd_select);
  return selected;
}

py::array independent_set_csr(const py::array& indptr, const py::array& indices,
                              const py::array& priority, const OptionalArray& eligible,
                              bool symmetric) {
  IndependentSetCsrArgs args{};
  args.symmetric = symmetric;
  raise_unless_ok(unmask::bind(args, view("indptr", indptr), view("indices", indices),
                               view("priority", priority), view("eligible", eligible)));
  py::array_t<bool> selected(args.nodes);
  py::array_t<uint64_t> workspace(independent_set_csr_workspace(args) / sizeof(uint64_t));
  args.selected = selected.mutable_data();
  args.workspace = workspace.mutable_data();
  run(args, cpu::independent_set_csr);
  return selected;
}

}  // namespace

void register_selection(py::module_& m) {
  m.def("masked_positions", &masked_positions, py::arg("tokens"), py::arg("mask_id"), py::kw_only(),
        py::arg("start") = int64_t{0}, py::arg("stop") = std::nullopt,
        py::arg("capacity") = std::nullopt);
  m.def("commit_", &commit_, py::arg("tokens"), py::arg("positions"), py::arg("token"),
        py::arg("selected"));
  m.def("select", &select, py::arg("confidence"), py::arg("token"), py::arg("rule"),
        py::arg("limit"), py::kw_only(), py::arg("entropy") = std::nullopt,
        py::arg("eligible") = std::nullopt, py::arg("positions") = std::nullopt,
        py::arg("seed") = int64_t{0}, py::arg("step") = int64_t{0});
  m.def("dapd_select", &dapd_select, py::arg("confidence"), py::arg("token"), py::arg("conflict"),
        py::arg("degree"), py::arg("remaining"), py::arg("gen_length"), py::kw_only(),
        py::arg("order") = "degree*confidence", py::arg("precommit") = std::nullopt,
        py::arg("late") = std::nullopt, py::arg("late_threshold") = 0.9,
        py::arg("late_progress") = 0.5);
  m.def("independent_set_csr", &independent_set_csr, py::arg("indptr"), py::arg("indices"),
        py::arg("priority"), py::kw_only(), py::arg("eligible") = std::nullopt,
        py::arg("symmetric") = false);
  m.def("progress_of", &progress_of, py::arg("remaining"), py::arg("gen_length"),
        "1 - remaining / gen_length in float32; 0 when there was nothing to generate.");
  m.def("tau_at", &tau_at, py::arg("tau_min"), py::arg("tau_max"), py::arg("progress"),
        "tau_min + (tau_max - tau_min) * progress in float32: DAPD's threshold.");
}

}  // namespace unmask::python
