// Marks the small functions that host and device code share, always inlined.
#pragma once

#ifdef __CUDACC__
#define UNMASK_HOST_DEVICE __host__ __device__ __forceinline__
#else
#define UNMASK_HOST_DEVICE inline __attribute__((always_inline))
#endif
