#include "unmask/independent_set.h"

#include "torch/ops.h"
#include "torch/tensors.h"

namespace unmask::torch_ops {

at::Tensor independent_set(const at::Tensor& conflict, const at::Tensor& priority,
                           const OptionalTensor& eligible) {
  const c10::DeviceGuard guard(conflict.device());
  IndependentSetArgs args{};
  raise_unless_ok(bind(args, view("conflict", conflict), view("priority", priority),
                       view("eligible", eligible)));

  at::Tensor selected = at::empty({args.batch, args.nodes}, conflict.options().dtype(at::kBool));
  args.selected = selected.mutable_data_ptr<bool>();
  run(conflict, args, cpu::independent_set, cuda::independent_set);
  return selected;
}

}  // namespace unmask::torch_ops
