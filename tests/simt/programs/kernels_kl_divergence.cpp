// kl_divergence: against the CPU backend, and equal to the bit wherever the rows lie.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "harness.h"
#include "unmask/kl_divergence.h"

namespace {

using namespace unmask;
using programs::Array;
using programs::Random;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr int64_t kTile = 1024;

void put(float value, float& to) { to = value; }
void put(float value, uint16_t& to) {  // bfloat16, cut off
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  to = static_cast<uint16_t>(bits >> 16);
}

// Two rows of logits, each in an array of exact size, `offset` elements from where it begins.
template <class T>
struct Rows {
  Array<T> now, before;
  KlDivergenceArgs args{};
  int64_t offset;

  Rows(int64_t vocab, int64_t offset)
      : now(vocab + offset), before(vocab + offset), offset(offset) {
    args.rows.logits = now.get() + offset;
    args.rows.logits_type = sizeof(T) == 4 ? DType::kFloat32 : DType::kBFloat16;
    args.rows.batch = args.rows.rows = args.rows.nodes = 1;
    args.rows.vocab = args.rows.batch_stride = args.rows.row_stride = vocab;
    args.rows.logit_scale = 1.0f;
    args.previous = before.get() + offset;
    args.previous_batch_stride = args.previous_row_stride = vocab;
  }

  void draw(double moved) {
    Random random(args.rows.vocab);
    std::normal_distribution<double> normal;
    for (int64_t v = 0; v < args.rows.vocab; ++v) {
      const double x = 3.0 * normal(random);
      put(static_cast<float>(x), now[v + offset]);
      put(static_cast<float>(x + moved * normal(random)), before[v + offset]);
    }
  }
  void set(int64_t token, float x, float y) {
    put(x, now[token + offset]);
    put(y, before[token + offset]);
  }

  float on_cuda() {
    Array<float> result(1, -1.0f);
    args.divergence = result.get();
    REQUIRE(cuda::kl_divergence(args, nullptr).ok());
    return result[0];
  }
  float on_cpu() {
    Array<float> result(1, -1.0f);
    args.divergence = result.get();
    REQUIRE(cpu::kl_divergence(args).ok());
    return result[0];
  }
};

// Both backends are within 1e-5 relative and 1e-6 absolute of float64.
bool close(float a, float b) {
  return a == b || std::abs(a - b) <= 2e-6f + 2e-5f * std::max(std::abs(a), std::abs(b));
}

template <class T>
void compare(int64_t vocab, double moved) {
  Rows<T> rows(vocab, 0);
  rows.draw(moved);
  const float aligned = rows.on_cuda();
  REQUIRE(close(aligned, rows.on_cpu()));
  for (const int64_t offset : {1, 3}) {
    Rows<T> elsewhere(vocab, offset);
    elsewhere.draw(moved);
    REQUIRE(elsewhere.on_cuda() == aligned);
  }
}

}  // namespace

SIMT_TEST(kl_divergence_equals_the_cpu_wherever_rows_lie) {
  for (const int64_t vocab : {int64_t{1}, int64_t{33}, kTile - 1, kTile, kTile + 1, 3 * kTile + 9})
    for (const double moved : {0.01, 10.0}) {
      compare<float>(vocab, moved);
      compare<uint16_t>(vocab, moved);
    }
}

// More tiles than warps.
SIMT_TEST(kl_divergence_of_many_tiles) { compare<uint16_t>(19 * kTile + 5, 1.0); }

SIMT_TEST(kl_divergence_of_infinities) {
  const float values[] = {-kInfinity, kInfinity, NAN, 2.0f};
  for (const int64_t last : {int64_t{60}, kTile + 60})
    for (const float x : values)
      for (const float y : values)
        for (const bool alone : {false, true}) {
          Rows<float> rows(last + 1, 0);
          rows.draw(0.5);
          if (alone)
            for (int64_t v = 0; v < last; ++v) rows.set(v, -kInfinity, -kInfinity);
          rows.set(3, 1.0f, y);
          rows.set(last, x, 1.0f);
          REQUIRE(close(rows.on_cuda(), rows.on_cpu()));
          rows.set(last, x, y);
          REQUIRE(close(rows.on_cuda(), rows.on_cpu()));
        }
}

SIMT_TEST(kl_divergence_takes_positions_without_a_row_for_padding) {
  Rows<float> rows(40, 0);
  rows.draw(1.0);
  Array<int32_t> positions(5);
  Array<float> divergence(5, -1.0f);
  const int32_t wanted[] = {-1, 3, 4, 0x7fffffff, 2};
  std::copy(std::begin(wanted), std::end(wanted), positions.get());
  const float alone = rows.on_cuda();
  rows.args.rows.positions = positions.get();
  rows.args.rows.nodes = 5;
  rows.args.rows.row_offset = 2;
  rows.args.rows.row_shift = 1;
  rows.args.divergence = divergence.get();
  REQUIRE(cuda::kl_divergence(rows.args, nullptr).ok());
  REQUIRE(divergence[0] == 0.0f && divergence[2] == 0.0f && divergence[3] == 0.0f);
  REQUIRE(divergence[1] == alone && divergence[4] == alone && alone > 0.0f);
  rows.args.rows.rows = 0;
  REQUIRE(cuda::kl_divergence(rows.args, nullptr).ok());
  for (int node = 0; node < 5; ++node) REQUIRE(divergence[node] == 0.0f);
}

SIMT_TEST(kl_divergence_of_nothing) {
  Rows<float> rows(4, 0);
  rows.args.rows.batch = 0;
  REQUIRE(cuda::kl_divergence(rows.args, nullptr).ok());
}
