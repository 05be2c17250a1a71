// The operators this room offers to torch. Schemas: ops.cpp. Meaning: python/unmask/ops.py.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <string_view>
#include <tuple>

namespace unmask::torch_ops {

using OptionalTensor = std::optional<at::Tensor>;

at::Tensor attention_scores(const at::Tensor& query, const at::Tensor& key,
                            const at::Tensor& positions, std::optional<double> scale,
                            const OptionalTensor& lse, const OptionalTensor& attn_mask,
                            bool is_causal, double weight);
void attention_scores_(const at::Tensor& out, const at::Tensor& query, const at::Tensor& key,
                       const at::Tensor& positions, std::optional<double> scale,
                       const OptionalTensor& lse, const OptionalTensor& attn_mask, bool is_causal,
                       double weight);
at::Tensor attention_scores_from_probs(const at::Tensor& probs, const at::Tensor& positions,
                                       double weight);
void attention_scores_from_probs_(const at::Tensor& out, const at::Tensor& probs,
                                  const at::Tensor& positions, double weight);

std::tuple<at::Tensor, at::Tensor> dependency_graph(const at::Tensor& scores,
                                                    const at::Tensor& positions, double tau,
                                                    std::string_view edge, bool normalize);
std::tuple<at::Tensor, at::Tensor> dependency_graph_row_tau(const at::Tensor& scores,
                                                            const at::Tensor& positions,
                                                            const at::Tensor& tau,
                                                            std::string_view edge, bool normalize);

at::Tensor independent_set(const at::Tensor& conflict, const at::Tensor& priority,
                           const OptionalTensor& eligible);

}  // namespace unmask::torch_ops
