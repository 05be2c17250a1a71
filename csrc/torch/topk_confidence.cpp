#include "unmask/topk_confidence.h"

#include "torch/ops.h"
#include "torch/tensors.h"

namespace unmask::torch_ops {

TopKConfidenceTensors topk_confidence(const at::Tensor& logits, const OptionalTensor& positions,
                                      int64_t k, double temperature, int64_t top_k, double top_p,
                                      std::string_view sampler, double logit_scale,
                                      int64_t row_shift, int64_t row_offset,
                                      const OptionalTensor& suppress_tokens, int64_t seed,
                                      int64_t step, const OptionalTensor& request_seeds,
                                      const OptionalTensor& device_step) {
  const c10::DeviceGuard guard(logits.device());
  TopKConfidenceArgs args{};
  args.k = k;
  args.sampling.temperature = static_cast<float>(temperature);
  args.sampling.top_k = top_k;
  args.sampling.top_p = top_p;
  args.sampling.seed = seed;
  args.sampling.step = step;
  args.rows.logit_scale = static_cast<float>(logit_scale);
  args.rows.row_shift = row_shift;
  args.rows.row_offset = row_offset;
  raise_unless_ok(unmask::bind(args, view("logits", logits), view("positions", positions),
                               view("suppress_tokens", suppress_tokens),
                               view("seed", request_seeds), view("step", device_step),
                               std::string(sampler)));

  const int64_t batch = args.rows.batch, nodes = args.rows.nodes;
  const auto floats = logits.options().dtype(at::kFloat);
  const auto integers = logits.options().dtype(at::kLong);
  TopKConfidenceTensors result{
      at::empty({batch, nodes}, integers),    at::empty({batch, nodes}, floats),
      at::empty({batch, nodes, k}, integers), at::empty({batch, nodes, k}, floats),
      at::empty({batch, nodes}, floats),      at::empty({batch, nodes}, floats)};
  auto& [token, confidence, ids, probs, entropy, logsumexp] = result;
  args.token = token.mutable_data_ptr<int64_t>();
  args.confidence = confidence.mutable_data_ptr<float>();
  args.ids = ids.mutable_data_ptr<int64_t>();
  args.probs = probs.mutable_data_ptr<float>();
  args.entropy = entropy.mutable_data_ptr<float>();
  args.logsumexp = logsumexp.mutable_data_ptr<float>();
  at::Tensor workspace;
  if (!on_cpu(logits)) {
    workspace = at::empty({topk_confidence_workspace(args)}, logits.options().dtype(at::kByte));
    args.workspace = workspace.mutable_data_ptr();
  }
  run(logits, args, cpu::topk_confidence, cuda::topk_confidence);
  return result;
}

}  // namespace unmask::torch_ops
