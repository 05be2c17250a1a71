// The operators this room offers to torch. Schemas: ops.cpp. Meaning: python/unmask/ops.py.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/util/string_view.h>

#include <optional>
#include <tuple>

namespace torch {
class Library;
}

namespace unmask::torch_ops {

using OptionalTensor = std::optional<at::Tensor>;

void define(torch::Library& m);  // the schemas
void serve(torch::Library& m);   // the functions below, for every device they know

at::Tensor independent_set(const at::Tensor& conflict, const at::Tensor& priority,
                           const OptionalTensor& eligible);

// token, confidence, ids, probs, entropy, logsumexp
using TopKConfidenceTensors =
    std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor>;

TopKConfidenceTensors topk_confidence(const at::Tensor& logits, const OptionalTensor& positions,
                                      int64_t k, double temperature, int64_t top_k, double top_p,
                                      double logit_scale, int64_t row_shift, int64_t row_offset,
                                      const OptionalTensor& suppress_tokens, int64_t seed,
                                      int64_t step, const OptionalTensor& request_seeds,
                                      const OptionalTensor& device_step);

at::Tensor kl_divergence(const at::Tensor& logits, const at::Tensor& previous,
                         const OptionalTensor& positions, double logit_scale, int64_t row_shift,
                         int64_t row_offset);
at::Tensor masked_positions(const at::Tensor& tokens, int64_t mask_id, int64_t start,
                            std::optional<int64_t> stop, std::optional<int64_t> capacity,
                            const OptionalTensor& row_start, const OptionalTensor& row_stop);

at::Tensor commit_(at::Tensor& tokens, const at::Tensor& positions, const at::Tensor& token,
                   const at::Tensor& selected);

at::Tensor select(const at::Tensor& confidence, const at::Tensor& token, c10::string_view rule,
                  double limit, const OptionalTensor& entropy, const OptionalTensor& eligible,
                  const OptionalTensor& positions, int64_t seed, int64_t step,
                  const OptionalTensor& request_seeds, const OptionalTensor& device_step);

at::Tensor dapd_select(const at::Tensor& confidence, const at::Tensor& token,
                       const at::Tensor& conflict, const at::Tensor& degree,
                       const at::Tensor& remaining, const at::Tensor& gen_length,
                       c10::string_view order, std::optional<double> precommit,
                       std::optional<c10::string_view> late, double late_threshold,
                       double late_progress);

}  // namespace unmask::torch_ops
