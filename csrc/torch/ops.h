// The operators this room offers to torch. Schemas: ops.cpp. Meaning: python/unmask/ops.py.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

namespace unmask::torch_ops {

using OptionalTensor = std::optional<at::Tensor>;

at::Tensor independent_set(const at::Tensor& conflict, const at::Tensor& priority,
                           const OptionalTensor& eligible);

}  // namespace unmask::torch_ops
