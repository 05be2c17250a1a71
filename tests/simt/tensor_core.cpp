#include "tensor_core.h"

namespace simt {

float half16_to_float(uint16_t bits, Half16 type) {
  if (type == Half16::kBFloat16) {
    const uint32_t wide = static_cast<uint32_t>(bits) << 16;
    float value;
    std::memcpy(&value, &wide, sizeof value);
    return value;
  }
  constexpr int kExponentBias = 15, kMantissaBits = 10, kInfiniteExponent = 31;
  const int exponent = bits >> kMantissaBits & kInfiniteExponent;
  const int mantissa = bits & ((1 << kMantissaBits) - 1);
  const float sign = bits & 0x8000 ? -1.0f : 1.0f;
  if (exponent == kInfiniteExponent)
    return sign * (mantissa ? __builtin_nanf("") : __builtin_inff());
  const int significand = exponent ? mantissa | 1 << kMantissaBits : mantissa;
  const int power = (exponent ? exponent : 1) - kExponentBias - kMantissaBits;
  return sign * __builtin_ldexpf(static_cast<float>(significand), power);
}

namespace {

constexpr int kLanes = 32;

uint16_t half_of(uint32_t pair, int which) { return static_cast<uint16_t>(pair >> (16 * which)); }

// Fragment layouts: "Matrix Fragments for mma.m16n8k16 with floating point type" in the PTX ISA.
void multiply(void* const* records, Half16 type) {
  float a[16][16], b[16][8];
  for (int lane = 0; lane < kLanes; ++lane) {
    const auto& mine = *static_cast<const MatrixProduct*>(records[lane]);
    const int group = lane / 4, pair = lane % 4 * 2;
    for (int i = 0; i < 8; ++i) {
      const int row = group + (i / 2 % 2) * 8, column = pair + i % 2 + i / 4 * 8;
      a[row][column] = half16_to_float(half_of(mine.a[i / 2], i % 2), type);
    }
    for (int i = 0; i < 4; ++i)
      b[pair + i % 2 + i / 2 * 8][group] = half16_to_float(half_of(mine.b[i / 2], i % 2), type);
  }
  for (int lane = 0; lane < kLanes; ++lane) {
    const auto& mine = *static_cast<const MatrixProduct*>(records[lane]);
    for (int i = 0; i < 4; ++i) {
      const int row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
      for (int k = 0; k < 16; ++k) mine.d[i] += a[row][k] * b[k][column];
    }
  }
}

template <int kMatrices, bool kTransposed>
void distribute(void* const* records, uint32_t) {
  for (int lane = 0; lane < kLanes; ++lane) {
    auto& mine = *static_cast<MatrixLoad*>(records[lane]);
    for (int m = 0; m < kMatrices; ++m) {
      uint32_t pair = 0;
      for (int i = 0; i < 2; ++i) {
        const int outer = lane / 4, inner = lane % 4 * 2 + i;
        const int row = kTransposed ? inner : outer, column = kTransposed ? outer : inner;
        const auto& owner = *static_cast<const MatrixLoad*>(records[8 * m + row]);
        pair |= static_cast<uint32_t>(owner.row[column]) << (16 * i);
      }
      mine.fragment[m] = pair;
    }
  }
}

}  // namespace

const WarpOperation kMmaBFloat16{
    "mma.bf16", [](void* const* records, uint32_t) { multiply(records, Half16::kBFloat16); },
    false};
const WarpOperation kMmaFloat16{
    "mma.f16", [](void* const* records, uint32_t) { multiply(records, Half16::kFloat16); }, false};
const WarpOperation kLoad1{"ldmatrix.x1", distribute<1, false>, false};
const WarpOperation kLoad2{"ldmatrix.x2", distribute<2, false>, false};
const WarpOperation kLoad4{"ldmatrix.x4", distribute<4, false>, false};
const WarpOperation kLoad1Transposed{"ldmatrix.x1.trans", distribute<1, true>, false};
const WarpOperation kLoad2Transposed{"ldmatrix.x2.trans", distribute<2, true>, false};
const WarpOperation kLoad4Transposed{"ldmatrix.x4.trans", distribute<4, true>, false};

}  // namespace simt
