#include "unmask/independent_set_csr.h"

#include "torch/ops.h"
#include "torch/tensors.h"

namespace unmask::torch_ops {

at::Tensor independent_set_csr(const at::Tensor& indptr, const at::Tensor& indices,
                               const at::Tensor& priority, const OptionalTensor& eligible,
                               bool symmetric) {
  const c10::DeviceGuard guard(priority.device());
  IndependentSetCsrArgs args{};
  args.symmetric = symmetric;
  raise_unless_ok(unmask::bind(args, view("indptr", indptr), view("indices", indices),
                               view("priority", priority), view("eligible", eligible)));

  const auto make = [&](int64_t size, at::ScalarType type) {
    return at::empty({size}, priority.options().dtype(type));
  };
  at::Tensor selected = make(args.nodes, at::kBool);
  at::Tensor workspace = make(on_cpu(priority) ? independent_set_csr_workspace(args)
                                               : independent_set_csr_cuda_workspace(args),
                              at::kByte);
  args.selected = selected.mutable_data_ptr<bool>();
  args.workspace = workspace.mutable_data_ptr();
  run(priority, args, cpu::independent_set_csr, cuda::independent_set_csr);
  return selected;
}

}  // namespace unmask::torch_ops
