#include "unmask/select.h"

#include "torch/ops.h"
#include "torch/tensors.h"

namespace unmask::torch_ops {

at::Tensor select(const at::Tensor& confidence, const at::Tensor& token, std::string_view rule,
                  double limit, const OptionalTensor& entropy, const OptionalTensor& eligible,
                  const OptionalTensor& positions, int64_t seed, int64_t step,
                  const OptionalTensor& request_seeds, const OptionalTensor& device_step) {
  const c10::DeviceGuard guard(confidence.device());
  SelectArgs args{};
  args.limit = limit;
  args.seed = seed;
  args.step = step;
  raise_unless_ok(unmask::bind(args, view("confidence", confidence), view("token", token),
                               std::string(rule), view("entropy", entropy),
                               view("eligible", eligible), view("positions", positions),
                               view("seed", request_seeds), view("step", device_step)));

  at::Tensor selected = at::empty({args.batch, args.nodes}, confidence.options().dtype(at::kBool));
  args.selected = selected.mutable_data_ptr<bool>();
  run(confidence, args, cpu::select, cuda::select);
  return selected;
}

}  // namespace unmask::torch_ops
