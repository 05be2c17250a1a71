// From a run-time type to a template argument: body(T{}) is called with a value of that type.
#pragma once

#include <cstdint>
#include <utility>

#include "cuda/device/float16.cuh"
#include "unmask/status.h"
#include "unmask/types.h"

namespace unmask::cuda {

// int64_t or int32_t; validate() has let nothing else through.
template <class Body>
Status dispatch_tokens(DType type, Body&& body) {
  return type == DType::kInt64 ? body(int64_t{}) : body(int32_t{});
}

// float, BFloat16 or Float16; validate() has let nothing else through.
template <class Body>
Status dispatch_floats(DType type, Body&& body) {
  switch (type) {
    case DType::kBFloat16: return body(BFloat16{});
    case DType::kFloat16: return body(Float16{});
    default: return body(float{});
  }
}

}  // namespace unmask::cuda
