#include "unmask/commit.h"

#include "torch/ops.h"
#include "torch/tensors.h"

namespace unmask::torch_ops {

at::Tensor commit_(at::Tensor& tokens, const at::Tensor& positions, const at::Tensor& token,
                   const at::Tensor& selected) {
  const c10::DeviceGuard guard(tokens.device());
  CommitArgs args{};
  raise_unless_ok(unmask::bind(args, view("tokens", tokens), view("positions", positions),
                               view("token", token), view("selected", selected)));

  at::Tensor committed = at::empty({args.batch}, tokens.options().dtype(at::kInt));
  args.committed = committed.mutable_data_ptr<int32_t>();
  run(tokens, args, cpu::commit, cuda::commit);
  return committed;
}

}  // namespace unmask::torch_ops
