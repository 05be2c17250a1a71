#include "unmask/masked_positions.h"

#include "torch/ops.h"
#include "torch/tensors.h"

namespace unmask::torch_ops {

at::Tensor masked_positions(const at::Tensor& tokens, int64_t mask_id, int64_t start,
                            std::optional<int64_t> stop, std::optional<int64_t> capacity,
                            const OptionalTensor& row_start, const OptionalTensor& row_stop) {
  const c10::DeviceGuard guard(tokens.device());
  MaskedPositionsArgs args{};
  args.mask_id = mask_id;
  raise_unless_ok(unmask::bind(args, view("tokens", tokens),
                               {.start = start,
                                .stop = stop,
                                .capacity = capacity,
                                .row_start = view("start", row_start),
                                .row_stop = view("stop", row_stop)}));

  at::Tensor positions = at::empty({args.batch, args.capacity}, tokens.options().dtype(at::kInt));
  args.positions = positions.mutable_data_ptr<int32_t>();
  run(tokens, args, cpu::masked_positions, cuda::masked_positions);
  return positions;
}

}  // namespace unmask::torch_ops
