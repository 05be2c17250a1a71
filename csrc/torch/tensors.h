// What every operator file of this room needs: tensors seen as views, the caller's threads and
// stream, and the one place where a Status becomes a Python exception.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <c10/core/DeviceGuard.h>

#include <optional>
#include <string>
#include <string_view>

#include "core/bind.h"

namespace unmask::torch_ops {

TensorView view(const char* name, const at::Tensor& tensor);
TensorView view(const char* name, const std::optional<at::Tensor>& tensor);

// An optional word, as the core takes it.
inline std::optional<std::string> as_string(std::optional<std::string_view> word) {
  if (!word) return std::nullopt;
  return std::string(*word);
}

void raise_unless_ok(const Status& status);

// torch's own threads and BLAS.
Executor executor();

// Whether the CPU backend serves this tensor; if not, the CUDA backend does.
bool on_cpu(const at::Tensor& tensor);

// The current stream of the tensor's device.
Stream stream_of(const at::Tensor& tensor);

// Runs one of the two backends, by where `tensor` lives.
template <class Args>
void run(const at::Tensor& tensor, const Args& args, Status (*cpu)(const Args&, const Executor&),
         Status (*cuda)(const Args&, Stream)) {
  raise_unless_ok(on_cpu(tensor) ? cpu(args, executor()) : cuda(args, stream_of(tensor)));
}

}  // namespace unmask::torch_ops
