// Reading 16 bytes at a time, whatever the type, as floats.
#pragma once

#include "cuda/device/float16.cuh"
#include "cuda/device/portable.cuh"

namespace unmask::cuda {

template <class T>
inline constexpr int kPerLoad = 16 / static_cast<int>(sizeof(T));

__host__ __device__ __forceinline__ bool is_aligned_16(const void* pointer) {
  return reinterpret_cast<uintptr_t>(pointer) % 16 == 0;
}

// 16 bytes that nobody writes during the kernel and nobody reads twice: past the L1 cache.
__device__ __forceinline__ uint4 load_once(const void* aligned) {
#ifdef UNMASK_SIMT
  return *static_cast<const uint4*>(aligned);
#else
  uint4 words;
  asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(words.x), "=r"(words.y), "=r"(words.z), "=r"(words.w)
               : "l"(aligned));
  return words;
#endif
}

__device__ __forceinline__ void unpack(uint4 words, float (&values)[4]) {
  values[0] = __uint_as_float(words.x);
  values[1] = __uint_as_float(words.y);
  values[2] = __uint_as_float(words.z);
  values[3] = __uint_as_float(words.w);
}

// Two 16-bit numbers, the first in the lower half.
template <class T>
__device__ __forceinline__ void unpack_pair(uint32_t word, float& first, float& second) {
  first = to_float(T{static_cast<uint16_t>(word)});
  second = to_float(T{static_cast<uint16_t>(word >> 16)});
}

template <class T>
__device__ __forceinline__ void unpack(uint4 words, float (&values)[8]) {
  unpack_pair<T>(words.x, values[0], values[1]);
  unpack_pair<T>(words.y, values[2], values[3]);
  unpack_pair<T>(words.z, values[4], values[5]);
  unpack_pair<T>(words.w, values[6], values[7]);
}

// values[i] = source[i] for kPerLoad<T> elements from a 16-byte aligned address.
template <class T>
__device__ __forceinline__ void load_floats(const T* source, float (&values)[kPerLoad<T>]) {
  if constexpr (std::is_same_v<T, float>)
    unpack(load_once(source), values);
  else
    unpack<T>(load_once(source), values);
}

}  // namespace unmask::cuda
