#include "unmask/dapd_select.h"

#include <limits>

#include "torch/ops.h"
#include "torch/tensors.h"

namespace unmask::torch_ops {

at::Tensor dapd_select(const at::Tensor& confidence, const at::Tensor& token,
                       const at::Tensor& conflict, const at::Tensor& degree,
                       const at::Tensor& remaining, const at::Tensor& gen_length,
                       std::string_view order, std::optional<double> precommit,
                       std::optional<std::string_view> late, double late_threshold,
                       double late_progress) {
  const c10::DeviceGuard guard(confidence.device());
  DapdSelectArgs args{};
  args.precommit = static_cast<float>(precommit.value_or(std::numeric_limits<double>::infinity()));
  args.late_threshold = static_cast<float>(late_threshold);
  args.late_progress = static_cast<float>(late_progress);
  raise_unless_ok(unmask::bind(args, view("confidence", confidence), view("token", token),
                               view("conflict", conflict), view("degree", degree),
                               view("remaining", remaining), view("gen_length", gen_length),
                               std::string(order), as_string(late)));

  const auto per_node = [&](at::ScalarType type) {
    return at::empty({args.batch, args.nodes}, confidence.options().dtype(type));
  };
  at::Tensor selected = per_node(at::kBool);
  args.selected = selected.mutable_data_ptr<bool>();
  at::Tensor priority, eligible;  // scratch
  if (on_cpu(confidence)) {
    priority = per_node(at::kFloat);
    eligible = per_node(at::kBool);
    args.priority = priority.mutable_data_ptr<float>();
    args.eligible = eligible.mutable_data_ptr<bool>();
  }
  run(confidence, args, cpu::dapd_select, cuda::dapd_select);
  return selected;
}

}  // namespace unmask::torch_ops
