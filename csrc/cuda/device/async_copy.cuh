// Copies from global to shared memory that do not pass through registers (cp.async). Between the
// copy and the wait for its group the destination is undefined; other threads may read it after
// the wait and a barrier.
#pragma once

#include "cuda/device/portable.cuh"

namespace unmask::cuda {

#ifdef UNMASK_SIMT

inline void copy_async_16(void* shared, const void* global, bool valid) {
  simt::copy_async(shared, global, 16, valid ? 16 : 0);
}
inline void close_copy_group() { simt::close_copy_group(); }
template <int kPending>
inline void wait_for_copies() {
  simt::copy_async_wait(kPending);
}

#else

// 16 bytes between 16-byte aligned addresses; zeros when not valid, and `global` is not read.
__device__ __forceinline__ void copy_async_16(void* shared, const void* global, bool valid) {
  const auto to = static_cast<uint32_t>(__cvta_generic_to_shared(shared));
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(global),
               "r"(valid ? 16 : 0)
               : "memory");
}

// The copies of this thread since the last call become one group.
__device__ __forceinline__ void close_copy_group() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}

// Until all groups of this thread but the youngest kPending have landed.
template <int kPending>
__device__ __forceinline__ void wait_for_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

#endif

}  // namespace unmask::cuda
