#include "unmask/dependency_graph.h"

#include "torch/ops.h"
#include "torch/tensors.h"

namespace unmask::torch_ops {
namespace {

std::tuple<at::Tensor, at::Tensor> graph_of(const at::Tensor& scores, const at::Tensor& positions,
                                            const OptionalTensor& row_tau, double tau,
                                            std::string_view edge, bool normalize) {
  const c10::DeviceGuard guard(scores.device());
  DependencyGraphArgs args{};
  args.tau = static_cast<float>(tau);
  args.normalize = normalize;
  raise_unless_ok(unmask::bind(args, view("scores", scores), view("positions", positions),
                               view("tau", row_tau), std::string(edge)));

  at::Tensor conflict =
      at::empty({args.batch, args.nodes, words_for(args.nodes)}, scores.options().dtype(at::kInt));
  at::Tensor degree = at::empty({args.batch, args.nodes}, scores.options());
  args.conflict = conflict.mutable_data_ptr<int32_t>();
  args.degree = degree.mutable_data_ptr<float>();
  at::Tensor row_sum;  // scratch
  if (args.normalize && !on_cpu(scores)) {
    row_sum = at::empty(degree.sizes(), degree.options());
    args.row_sum = row_sum.mutable_data_ptr<float>();
  }
  run(scores, args, cpu::dependency_graph, cuda::dependency_graph);
  return {conflict, degree};
}

}  // namespace

std::tuple<at::Tensor, at::Tensor> dependency_graph(const at::Tensor& scores,
                                                    const at::Tensor& positions, double tau,
                                                    std::string_view edge, bool normalize) {
  return graph_of(scores, positions, {}, tau, edge, normalize);
}

std::tuple<at::Tensor, at::Tensor> dependency_graph_row_tau(const at::Tensor& scores,
                                                            const at::Tensor& positions,
                                                            const at::Tensor& tau,
                                                            std::string_view edge, bool normalize) {
  return graph_of(scores, positions, tau, 0, edge, normalize);
}

}  // namespace unmask::torch_ops
