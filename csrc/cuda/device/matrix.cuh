// Tensor cores through mma.sync: one warp multiplies 16 x 16 by 16 x 8, float32 sums.
//
// Fragments of lane l, with group = l / 4 and pair = 2 * (l % 4), two 16-bit numbers a register:
//   a[0] (group, pair..)      a[1] (group + 8, pair..)   a[2] (group, pair + 8..)   a[3] both + 8
//   b[0] rows pair.. of column group                     b[1] rows pair + 8.. of column group
//   d[0] (group, pair)  d[1] (group, pair + 1)  d[2] (group + 8, pair)  d[3] (group + 8, pair + 1)
// load_matrices<4> on a row-major 16 x 16 tile gives `a` when lane l brings row l % 16 from column
// l / 16 * 8; on row-major keys [8 or 16 rows][16 columns] the untransposed load gives `b`.
//
// Source: PTX ISA, "Matrix fragments for mma.m16n8k16 with floating point type" and "ldmatrix".
#pragma once

#include "cuda/device/float16.cuh"
#include "cuda/device/portable.cuh"

namespace unmask::cuda {

#ifdef UNMASK_SIMT

template <class T>
inline void multiply_add(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  constexpr bool kIsBFloat16 = std::is_same_v<T, BFloat16>;
  static_assert(kIsBFloat16 || std::is_same_v<T, Float16>);
  simt::mma_16x8x16(d, a, b, kIsBFloat16 ? simt::Half16::kBFloat16 : simt::Half16::kFloat16);
}

template <int kMatrices>
inline void load_matrices(uint32_t (&fragment)[kMatrices], const void* shared_row) {
  simt::load_matrices(fragment, shared_row, false);
}

template <int kMatrices>
inline void load_matrices_transposed(uint32_t (&fragment)[kMatrices], const void* shared_row) {
  simt::load_matrices(fragment, shared_row, true);
}

#else

__device__ __forceinline__ uint32_t shared_address(const void* pointer) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

// d += a . b
template <class T>
__device__ __forceinline__ void multiply_add(float (&d)[4], const uint32_t (&a)[4],
                                             const uint32_t (&b)[2]) {
  static_assert(std::is_same_v<T, BFloat16> || std::is_same_v<T, Float16>);
  if constexpr (std::is_same_v<T, BFloat16>) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
  } else {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
  }
}

// Lane 8 * m + r brings the 16-byte row r of matrix m, in shared memory.
__device__ __forceinline__ void load_matrices(uint32_t (&fragment)[4], const void* shared_row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(fragment[0]), "=r"(fragment[1]), "=r"(fragment[2]), "=r"(fragment[3])
               : "r"(shared_address(shared_row))
               : "memory");
}

__device__ __forceinline__ void load_matrices(uint32_t (&fragment)[2], const void* shared_row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];"
               : "=r"(fragment[0]), "=r"(fragment[1])
               : "r"(shared_address(shared_row))
               : "memory");
}

__device__ __forceinline__ void load_matrices_transposed(uint32_t (&fragment)[4],
                                                         const void* shared_row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(fragment[0]), "=r"(fragment[1]), "=r"(fragment[2]), "=r"(fragment[3])
               : "r"(shared_address(shared_row))
               : "memory");
}

__device__ __forceinline__ void load_matrices_transposed(uint32_t (&fragment)[2],
                                                         const void* shared_row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];"
               : "=r"(fragment[0]), "=r"(fragment[1])
               : "r"(shared_address(shared_row))
               : "memory");
}

#endif

}  // namespace unmask::cuda
