// From the product of a query and a key to its share of attention, in natural units: the maximum of a
// row may be the largest float, which has no room for a factor of log2(e).
#pragma once

#include <cmath>
#include <limits>

#include "cuda/device/float16.cuh"
#include "unmask/attention_scores.h"

namespace unmask::cuda {

inline constexpr float kForbidden = -std::numeric_limits<float>::infinity();
inline constexpr float kLargest = std::numeric_limits<float>::max();

// What a row is measured by: attention is e^(product - top) * factor.
struct RowScale {
  float top;
  float factor;
};
inline constexpr RowScale kAttendsToNone{-kForbidden, 0.0f};

// Part of a row: the sum of e^(product - top). The top of nothing is the smallest finite float,
// so that no difference is NaN.
struct RowPart {
  float top = -kLargest;
  float sum = 0.0f;
};

// e^x within 4 units in the last place and what the rounding of x * log2(e) makes of it; 0 below the
// smallest normal float, inf above the largest.
__device__ __forceinline__ float fast_exp(float x) {
  const float scaled = x * 1.44269504f;
#ifdef UNMASK_SIMT
  const float power = std::exp2(scaled);
  return power < 0x1p-126f ? 0.0f : power;
#else
  float power;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(power) : "f"(scaled));
  return power;
#endif
}

__device__ __forceinline__ RowPart merged(const RowPart& a, const RowPart& b) {
  const float top = max(a.top, b.top);
  return {top, a.sum * fast_exp(a.top - top) + b.sum * fast_exp(b.top - top)};
}

__device__ __forceinline__ RowScale scale_of(const RowPart& row) {
  return row.sum > 0.0f ? RowScale{row.top, 1.0f / row.sum} : kAttendsToNone;
}

__device__ __forceinline__ RowScale scale_of_lse(float lse) {
  const bool finite = lse >= -kLargest && lse <= kLargest;
  return finite ? RowScale{lse, 1.0f} : kAttendsToNone;
}

__device__ __forceinline__ float with_mask(const AttentionMask& mask, int64_t at, float product) {
  switch (mask.type) {
    case DType::kBool: return static_cast<const bool*>(mask.data)[at] ? product : kForbidden;
    case DType::kBFloat16: return product + to_float(static_cast<const BFloat16*>(mask.data)[at]);
    case DType::kFloat16: return product + to_float(static_cast<const Float16*>(mask.data)[at]);
    default: return product + static_cast<const float*>(mask.data)[at];
  }
}

// NaN forbids; +inf is the largest float.
__device__ __forceinline__ float tame(float product) {
  return min(max(product, kForbidden), kLargest);
}

// Where the mask of a query begins.
__device__ __forceinline__ int64_t mask_row(const AttentionScoresArgs& args, int64_t batch,
                                            int64_t head, int position) {
  const int64_t* stride = args.mask.stride;
  return batch * stride[0] + head * stride[1] + position * stride[2];
}

// kMasked: there is a mask, or an order. Both positions exist.
template <bool kMasked>
__device__ __forceinline__ float ruled(const AttentionScoresArgs& args, float product,
                                       int64_t row_of_mask, int query, int64_t key) {
  float result = product * args.scale;
  if (kMasked) {
    if (args.mask.data)
      result = with_mask(args.mask, row_of_mask + key * args.mask.stride[3], result);
    if (args.causal && key > query) result = kForbidden;
  }
  return tame(result);
}

}  // namespace unmask::cuda
