// Words that several blocks read and write during one kernel: each access is atomic and sees memory
// rather than a cache of its own, and orders nothing else.
#pragma once

#include "cuda/device/portable.cuh"

namespace unmask::cuda {

#ifdef UNMASK_SIMT

inline uint32_t load_relaxed(const uint32_t* address) {
  simt::preemption_point();
  return __atomic_load_n(address, __ATOMIC_RELAXED);
}
inline void store_relaxed(uint32_t* address, uint32_t value) {
  simt::preemption_point();
  __atomic_store_n(address, value, __ATOMIC_RELAXED);
}

#else

__device__ __forceinline__ uint32_t load_relaxed(const uint32_t* address) {
  uint32_t value;
  asm volatile("ld.relaxed.gpu.u32 %0, [%1];" : "=r"(value) : "l"(address));
  return value;
}
__device__ __forceinline__ void store_relaxed(uint32_t* address, uint32_t value) {
  asm volatile("st.relaxed.gpu.u32 [%0], %1;" ::"l"(address), "r"(value));
}

#endif

}  // namespace unmask::cuda
