// The warp-wide matrix instructions and asynchronous copies, in the fragment layouts of the PTX
// manual. csrc/cuda/device/matrix.cuh and async_copy.cuh are their only callers.
#pragma once

#include "warp.h"

namespace simt {

enum class Half16 { kBFloat16, kFloat16 };

float half16_to_float(uint16_t bits, Half16 type);

// d[16 x 8] += a[16 x 16] . b[16 x 8], float32 sums in ascending order of the inner index.
struct MatrixProduct {
  float* d;
  const uint32_t* a;
  const uint32_t* b;
};
extern const WarpOperation kMmaBFloat16, kMmaFloat16;

inline void mma_16x8x16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], Half16 type,
                        SIMT_HERE) {
  MatrixProduct mine{d, a, b};
  meet(type == Half16::kBFloat16 ? kMmaBFloat16 : kMmaFloat16, 0xffffffffu, &mine, at);
}

// Lane 8 * m + r brings row r of matrix m, eight 16-bit numbers; lane l takes two neighbours of
// row l / 4, or of column l / 4 when transposed.
struct MatrixLoad {
  uint16_t row[8];
  uint32_t* fragment;
};
extern const WarpOperation kLoad1, kLoad2, kLoad4, kLoad1Transposed, kLoad2Transposed,
    kLoad4Transposed;

template <int kMatrices>
inline void load_matrices(uint32_t (&fragment)[kMatrices], const void* row, bool transposed,
                          SIMT_HERE) {
  static_assert(kMatrices == 1 || kMatrices == 2 || kMatrices == 4);
  constexpr int which = kMatrices / 2;
  static const WarpOperation* const straight[] = {&kLoad1, &kLoad2, &kLoad4};
  static const WarpOperation* const turned[] = {&kLoad1Transposed, &kLoad2Transposed,
                                                &kLoad4Transposed};
  MatrixLoad mine;
  mine.fragment = fragment;
  if (this_thread->lane < 8 * kMatrices) {  // the other lanes' addresses are not looked at
    if (reinterpret_cast<uintptr_t>(row) % 16) fail("ldmatrix from a misaligned row", at);
    for (int i = 0; i < 8; ++i) mine.row[i] = static_cast<const uint16_t*>(row)[i];
  }
  meet(transposed ? *turned[which] : *straight[which], 0xffffffffu, &mine, at);
}

// ---- cp.async -----------------------------------------------------------------------------------
// The bytes land as late as the program allows, at wait; until then the destination is poison. A
// missing wait reads NaN, and a copy into a buffer that others still read is a race at once.

inline void copy_bytes(void* to, const void* from, unsigned bytes, unsigned valid) {
  for (unsigned i = 0; i < bytes; ++i)
    static_cast<unsigned char*>(to)[i] =
        i < valid ? static_cast<const unsigned char*>(from)[i] : static_cast<unsigned char>(0);
}

inline void copy_async(void* to, const void* from, unsigned bytes, unsigned valid, SIMT_HERE) {
  if (reinterpret_cast<uintptr_t>(to) % bytes) fail("cp.async to a misaligned address", at);
  if (valid && reinterpret_cast<uintptr_t>(from) % bytes)
    fail("cp.async from a misaligned address", at);
  copy_bytes(to, from, bytes, valid);  // out of bounds shows here, at the line of the copy
  for (unsigned i = 0; i < bytes; ++i) static_cast<unsigned char*>(to)[i] = 0xFF;
  queue_copy({to, from, bytes, valid});
}

inline void copy_async_wait(int pending) {
  AsyncCopy copy;
  while (next_landing(pending, &copy)) copy_bytes(copy.to, copy.from, copy.bytes, copy.valid);
}

}  // namespace simt
