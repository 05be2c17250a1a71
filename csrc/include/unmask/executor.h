#pragma once

#include <cstdint>

namespace [[gnu::visibility("default")]] unmask {

// What a caller lends the CPU backend: its threads and its BLAS. Both are optional: without
// threads everything runs on the calling one, without a BLAS a plain loop multiplies.
// Plain function pointers, so that no allocation and no exception crosses the boundary.
struct Executor {
  // Calls body(context, begin, end) on disjoint ranges that cover [0, tasks), in any order, and
  // returns when all are done.
  using Body = void (*)(void* context, int64_t begin, int64_t end);
  void (*parallel_for)(void* pool, int64_t tasks, Body body, void* context) = nullptr;

  // c[m, n] = a[m, k] . b[n, k]^T, float32, all three row-major and contiguous.
  // Called from bodies of parallel_for too, then on several threads at once.
  void (*matmul_nt)(void* pool, int64_t m, int64_t n, int64_t k, const float* a, const float* b,
                    float* c) = nullptr;

  void* pool = nullptr;  // handed back in both calls
};

}  // namespace unmask
