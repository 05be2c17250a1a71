#include "torch/tensors.h"

#include <ATen/Parallel.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/mm.h>

namespace unmask::torch_ops {
namespace {

std::optional<DType> dtype_of(at::ScalarType type) {
  switch (type) {
    case at::kFloat: return DType::kFloat32;
    case at::kBFloat16: return DType::kBFloat16;
    case at::kHalf: return DType::kFloat16;
    case at::kInt: return DType::kInt32;
    case at::kLong: return DType::kInt64;
    case at::kBool: return DType::kBool;
    default: return std::nullopt;
  }
}

void torch_parallel_for(void*, int64_t tasks, Executor::Body body, void* context) {
  at::parallel_for(0, tasks, 1, [&](int64_t begin, int64_t end) { body(context, begin, end); });
}

void torch_matmul_nt(void*, int64_t m, int64_t n, int64_t k, const float* a, const float* b,
                     float* c) {
  // On a worker thread, which has not inherited the caller's state: leave autograd out by name.
  const at::AutoDispatchBelowADInplaceOrView guard;
  const auto wrap = [](const float* data, int64_t rows, int64_t columns) {
    return at::from_blob(const_cast<float*>(data), {rows, columns}, at::kFloat);
  };
  at::Tensor product = wrap(c, m, n);
  at::mm_out(product, wrap(a, m, k), wrap(b, n, k).t());
}

}  // namespace

TensorView view(const char* name, const at::Tensor& tensor) {
  TensorView result;
  result.name = name;
  result.data = tensor.data_ptr();
  const std::optional<DType> dtype = dtype_of(tensor.scalar_type());
  result.known_dtype = dtype.has_value();
  if (dtype) result.dtype = *dtype;
  result.dtype_name = dtype ? name_of(*dtype) : c10::getDtypeNames(tensor.scalar_type()).first;
  result.rank = static_cast<int>(tensor.dim());
  for (int d = 0; d < result.rank && d < kMaxRank; ++d) {
    result.size[d] = tensor.size(d);
    result.stride[d] = tensor.stride(d);
  }
  if (!tensor.is_cpu()) result.device = tensor.device().str();
  return result;
}

TensorView view(const char* name, const std::optional<at::Tensor>& tensor) {
  return tensor ? view(name, *tensor) : TensorView{};
}

void raise_unless_ok(const Status& status) {
  using Code = Status::Code;
  TORCH_CHECK_VALUE(status.code() != Code::kInvalidArgument, status.message());
  TORCH_CHECK_NOT_IMPLEMENTED(status.code() != Code::kUnsupported, status.message());
  TORCH_CHECK(status.ok(), status.message());
}

Executor executor() {
  Executor lent;
  lent.parallel_for = torch_parallel_for;
  lent.matmul_nt = torch_matmul_nt;
  return lent;
}

}  // namespace unmask::torch_ops
