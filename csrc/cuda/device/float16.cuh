// The two 16-bit floats, as bits: no CUDA header is needed to name them, and no -D can change what
// a conversion does.
#pragma once

#include <type_traits>

#include "cuda/device/portable.cuh"

namespace unmask::cuda {

struct BFloat16 {
  uint16_t bits;
};
struct Float16 {
  uint16_t bits;
};

__device__ __forceinline__ float to_float(float value) { return value; }

__device__ __forceinline__ float to_float(BFloat16 value) {
  return __uint_as_float(static_cast<uint32_t>(value.bits) << 16);
}

__device__ __forceinline__ float to_float(Float16 value) {
#ifdef UNMASK_SIMT
  return simt::half16_to_float(value.bits, simt::Half16::kFloat16);
#else
  float result;
  asm("cvt.f32.f16 %0, %1;" : "=f"(result) : "h"(value.bits));
  return result;
#endif
}

}  // namespace unmask::cuda
