#include "unmask/step.h"

#include <limits>

#include "torch/ops.h"
#include "torch/tensors.h"

namespace unmask::torch_ops {
namespace {

// The nodes of this step when the caller names none: the masks of the window.
at::Tensor positions_of(const OptionalTensor& given, const at::Tensor& tokens, int64_t mask_id,
                        int64_t start, std::optional<int64_t> stop, std::optional<int64_t> capacity,
                        const OptionalTensor& row_start, const OptionalTensor& row_stop) {
  if (given) return *given;
  return masked_positions(tokens, mask_id, start, stop, capacity, row_start, row_stop);
}

void set_numbers(StepArgs& args, int64_t mask_id, double temperature, int64_t top_k, double top_p,
                 double logit_scale, int64_t row_shift, int64_t row_offset, int64_t seed,
                 int64_t step) {
  args.mask_id = mask_id;
  args.rows.logit_scale = static_cast<float>(logit_scale);
  args.rows.row_shift = row_shift;
  args.rows.row_offset = row_offset;
  args.sampling.temperature = static_cast<float>(temperature);
  args.sampling.top_k = top_k;
  args.sampling.top_p = top_p;
  args.sampling.seed = seed;
  args.sampling.step = step;
}

// Allocates what a bound step needs and runs it.
template <class Args>
StepResult finish(const at::Tensor& tokens, Args& args,
                  Status (*on_cpu)(const Args&, const Executor&),
                  Status (*on_cuda)(const Args&, Stream)) {
  StepArgs& step = args.step;
  const auto make = [&](at::IntArrayRef shape, at::ScalarType type) {
    return at::empty(shape, tokens.options().dtype(type));
  };
  at::Tensor committed = make({step.rows.batch}, at::kInt);
  at::Tensor remaining = make({step.rows.batch}, at::kInt);
  at::Tensor selected = make({step.rows.batch, step.rows.nodes}, at::kBool);
  at::Tensor workspace = make({step_workspace(args)}, at::kByte);
  step.committed = committed.mutable_data_ptr<int32_t>();
  step.remaining = remaining.mutable_data_ptr<int32_t>();
  step.selected = selected.mutable_data_ptr<bool>();
  step.workspace = workspace.mutable_data_ptr();
  run(tokens, args, on_cpu, on_cuda);
  return {committed, remaining, selected};
}

}  // namespace

StepResult select_step_(at::Tensor& tokens, const at::Tensor& logits,
                        const OptionalTensor& positions, int64_t mask_id, std::string_view rule,
                        double limit, int64_t start, std::optional<int64_t> stop,
                        std::optional<int64_t> capacity, const OptionalTensor& row_start,
                        const OptionalTensor& row_stop, double temperature, int64_t top_k,
                        double top_p, std::string_view sampler, double logit_scale,
                        int64_t row_shift, int64_t row_offset,
                        const OptionalTensor& suppress_tokens, int64_t seed, int64_t step,
                        const OptionalTensor& request_seeds, const OptionalTensor& device_step) {
  const c10::DeviceGuard guard(tokens.device());
  const at::Tensor nodes =
      positions_of(positions, tokens, mask_id, start, stop, capacity, row_start, row_stop);
  SelectStepArgs args{};
  args.limit = limit;
  set_numbers(args.step, mask_id, temperature, top_k, top_p, logit_scale, row_shift, row_offset,
              seed, step);
  raise_unless_ok(
      unmask::bind(args,
                   {view("tokens", tokens), view("logits", logits), view("positions", nodes),
                    view("suppress_tokens", suppress_tokens), view("seed", request_seeds),
                    view("step", device_step), std::string(sampler)},
                   std::string(rule)));
  return finish(tokens, args, cpu::select_step, cuda::select_step);
}

StepResult dapd_step_(at::Tensor& tokens, const at::Tensor& logits, const at::Tensor& scores,
                      const OptionalTensor& positions, int64_t mask_id,
                      const OptionalTensor& gen_length, double tau_min, double tau_max,
                      std::string_view edge, bool normalize, std::string_view order,
                      std::optional<double> precommit, std::optional<std::string_view> late,
                      double late_threshold, double late_progress, int64_t start,
                      std::optional<int64_t> stop, const OptionalTensor& row_start,
                      const OptionalTensor& row_stop, double temperature, int64_t top_k,
                      double top_p, std::string_view sampler, double logit_scale, int64_t row_shift,
                      int64_t row_offset, const OptionalTensor& suppress_tokens, int64_t seed,
                      int64_t step, const OptionalTensor& request_seeds,
                      const OptionalTensor& device_step) {
  const c10::DeviceGuard guard(tokens.device());
  const std::optional<int64_t> capacity =
      scores.dim() == 3 ? std::optional<int64_t>(scores.size(1)) : std::nullopt;
  const at::Tensor nodes =
      positions_of(positions, tokens, mask_id, start, stop, capacity, row_start, row_stop);
  DapdStepArgs args{};
  args.tau_min = tau_min;
  args.tau_max = tau_max;
  args.normalize = normalize;
  args.precommit = static_cast<float>(precommit.value_or(std::numeric_limits<double>::infinity()));
  args.late_threshold = static_cast<float>(late_threshold);
  args.late_progress = static_cast<float>(late_progress);
  set_numbers(args.step, mask_id, temperature, top_k, top_p, logit_scale, row_shift, row_offset,
              seed, step);
  raise_unless_ok(
      unmask::bind(args,
                   {view("tokens", tokens), view("logits", logits), view("positions", nodes),
                    view("suppress_tokens", suppress_tokens), view("seed", request_seeds),
                    view("step", device_step), std::string(sampler)},
                   view("scores", scores), view("gen_length", gen_length), std::string(edge),
                   std::string(order), as_string(late)));
  return finish(tokens, args, cpu::dapd_step, cuda::dapd_step);
}

}  // namespace unmask::torch_ops
