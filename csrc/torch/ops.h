// The operators this room offers to torch. Schemas: ops.cpp. Meaning: python/unmask/ops.py.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

namespace torch {
class Library;
}

namespace unmask::torch_ops {

using OptionalTensor = std::optional<at::Tensor>;

void define(torch::Library& m);  // the schemas
void serve(torch::Library& m);   // the functions below, for every device they know

at::Tensor independent_set(const at::Tensor& conflict, const at::Tensor& priority,
                           const OptionalTensor& eligible);

}  // namespace unmask::torch_ops
