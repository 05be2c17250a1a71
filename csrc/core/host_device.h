// Marks what host and device code share.
#pragma once

#ifdef __CUDACC__
#define UNMASK_HOST_DEVICE __host__ __device__
#else
#define UNMASK_HOST_DEVICE
#endif
