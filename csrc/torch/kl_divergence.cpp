#include "unmask/kl_divergence.h"

#include "torch/ops.h"
#include "torch/tensors.h"

namespace unmask::torch_ops {

at::Tensor kl_divergence(const at::Tensor& logits, const at::Tensor& previous,
                         const OptionalTensor& positions, double logit_scale, int64_t row_shift,
                         int64_t row_offset) {
  const c10::DeviceGuard guard(logits.device());
  KlDivergenceArgs args{};
  args.rows.logit_scale = static_cast<float>(logit_scale);
  args.rows.row_shift = row_shift;
  args.rows.row_offset = row_offset;
  raise_unless_ok(
      bind(args, view("logits", logits), view("previous", previous), view("positions", positions)));

  at::Tensor divergence =
      at::empty({args.rows.batch, args.rows.nodes}, logits.options().dtype(at::kFloat));
  args.divergence = divergence.mutable_data_ptr<float>();
  run(logits, args, cpu::kl_divergence, cuda::kl_divergence);
  return divergence;
}

}  // namespace unmask::torch_ops
