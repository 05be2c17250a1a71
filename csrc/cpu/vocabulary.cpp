// The vocabulary sums. Unlike the rest of the library this file is compiled with fma allowed: its
// results have a tolerance, not a bit pattern.
#include "cpu/vocabulary.h"

#include <algorithm>

#include "core/exact_math.h"
#include "cpu/multiversion.h"
#include "cpu/to_float.h"

namespace unmask::cpu {
namespace {

UNMASK_INLINE float usable(float logit) { return logit > kNever ? logit : kNever; }

// One function per type, because a template cannot be compiled for several machines.
UNMASK_MULTIVERSION void load_float32(const float* from, float* to) {
#pragma omp simd
  for (int v = 0; v < kGroup; ++v) to[v] = usable(from[v]);
}

UNMASK_MULTIVERSION void load_bfloat16(const uint16_t* from, float* to) {
#pragma omp simd
  for (int v = 0; v < kGroup; ++v) to[v] = usable(to_float(BFloat16{from[v]}));
}

UNMASK_MULTIVERSION void load_float16(const uint16_t* from, float* to) {
#pragma omp simd
  for (int v = 0; v < kGroup; ++v) to[v] = usable(to_float(Float16{from[v]}));
}

template <class T>
void load_group(const void* row, int64_t vocab, int64_t group, T nothing,
                void (*load)(const T*, float*), float* out) {
  const T* from = static_cast<const T*>(row) + group * kGroup;
  const int64_t left = vocab - group * kGroup;
  if (left >= kGroup) return load(from, out);

  T padded[kGroup];
  std::fill_n(std::copy_n(from, left, padded), kGroup - left, nothing);
  load(padded, out);
}

// The lanes become one by halves: a tree of one shape. Recursion, so that each half is a constant
// and the compiler keeps it in registers.
template <int kCount>
UNMASK_INLINE float add_lanes(const float (&lanes)[kCount]) {
  if constexpr (kCount == 1) {
    return lanes[0];
  } else {
    float half[kCount / 2];
#pragma omp simd
    for (int lane = 0; lane < kCount / 2; ++lane)
      half[lane] = lanes[lane] + lanes[lane + kCount / 2];
    return add_lanes(half);
  }
}

template <int kCount>
UNMASK_INLINE float max_of_lanes(const float (&lanes)[kCount]) {
  if constexpr (kCount == 1) {
    return lanes[0];
  } else {
    float half[kCount / 2];
#pragma omp simd
    for (int lane = 0; lane < kCount / 2; ++lane) {
      const float other = lanes[lane + kCount / 2];
      half[lane] = other > lanes[lane] ? other : lanes[lane];
    }
    return max_of_lanes(half);
  }
}

UNMASK_INLINE void max_by_lane(const float* logits, float (&lanes)[kLanes]) {
  std::fill_n(lanes, kLanes, kNever);
  for (int v = 0; v < kGroup; v += kLanes)
#pragma omp simd
    for (int lane = 0; lane < kLanes; ++lane)
      lanes[lane] = logits[v + lane] > lanes[lane] ? logits[v + lane] : lanes[lane];
}

UNMASK_INLINE float max_of_group(const float* logits) {
  float lanes[kLanes];
  max_by_lane(logits, lanes);
  return max_of_lanes(lanes);
}

// Below 2^-126 nothing counts; NaN, which is inf - inf, ends there too.
UNMASK_INLINE float at_least_tiny(float t) { return t > -126.0f ? t : -126.0f; }

}  // namespace

UNMASK_MULTIVERSION void largest_by_lane(const Group& group, float (&lanes)[kLanes]) {
  max_by_lane(group.logit, lanes);
}

UNMASK_MULTIVERSION float largest(const Group& group) { return max_of_group(group.logit); }

UNMASK_MULTIVERSION GroupSums sum_group(const Group& group, float scale_log2) {
  const float max = max_of_group(group.logit);
  if (!(max > kNever)) return {kNever, 0.0f, 0.0f};

  const float lowest = std::max(-126.0f / scale_log2, std::numeric_limits<float>::lowest());
  float sum[kLanes] = {}, weighted[kLanes] = {};
  for (int v = 0; v < kGroup; v += kLanes)
#pragma omp simd
    for (int lane = 0; lane < kLanes; ++lane) {
      // Subtract first: x * scale - max * scale would lose what large logits have in common.
      const float distance = group.logit[v + lane] - max;
      const float t = (distance > lowest ? distance : lowest) * scale_log2;
      const float e = exact::exp2(t);
      sum[lane] += e;
      weighted[lane] -= e * t;
    }
  return {max, add_lanes(sum), add_lanes(weighted)};
}

UNMASK_MULTIVERSION GroupDivergence compare_groups(const Group& now, const Group& before,
                                                   float scale_log2) {
  const float max_now = max_of_group(now.logit), max_before = max_of_group(before.logit);
  const float from_now = max_now > kNever ? max_now : 0.0f;
  const float from_before = max_before > kNever ? max_before : 0.0f;

  constexpr float kSmaller = 0x1p-12f;  // logits near the end of float32's range sum to infinity
  float sum_now[kLanes] = {}, sum_before[kLanes] = {}, moved[kLanes] = {};
  int unbounded = 0;
  for (int v = 0; v < kGroup; v += kLanes)
#pragma omp simd reduction(| : unbounded)
    for (int lane = 0; lane < kLanes; ++lane) {
      const float x = now.logit[v + lane], y = before.logit[v + lane];
      const float behind_now = x - from_now, behind_before = y - from_before;
      const float t = behind_now * scale_log2, s = behind_before * scale_log2;
      const float p = t > -126.0f ? exact::exp2(at_least_tiny(t)) : 0.0f;
      const float q = s > -126.0f ? exact::exp2(at_least_tiny(s)) : 0.0f;
      sum_now[lane] += p;
      sum_before[lane] += q;
      moved[lane] += p > 0.0f ? p * ((behind_now - behind_before) * kSmaller) : 0.0f;
      unbounded |= x > kNever && !(y > kNever);
    }
  return {{max_now, add_lanes(sum_now), 0.0f},
          {max_before, add_lanes(sum_before), 0.0f},
          double{add_lanes(moved)} / kSmaller,
          unbounded != 0};
}

Suppressed::Suppressed(const int64_t* tokens, int64_t count, int64_t vocab) : any_(count > 0) {
  if (!any_) return;
  std::fill_n(bits_.begin(), groups_of(vocab) * (kGroup / 64), uint64_t{0});
  for (int64_t i = 0; i < count; ++i) bits_[tokens[i] / 64] |= uint64_t{1} << (tokens[i] % 64);
}

void Suppressed::remove(int64_t group, float* logits) const {
  if (!any_) return;
  for (int word = 0; word < kGroup / 64; ++word)
    for (uint64_t bits = bits_[group * (kGroup / 64) + word]; bits != 0; bits &= bits - 1)
      logits[word * 64 + __builtin_ctzll(bits)] = kNever;
}

void VocabularyRow::load(int64_t group, Group& out) const {
  constexpr uint16_t kNeverBFloat16 = 0xff80, kNeverFloat16 = 0xfc00;
  switch (type) {
    case DType::kBFloat16:
      load_group(logits, vocab, group, kNeverBFloat16, load_bfloat16, out.logit);
      break;
    case DType::kFloat16:
      load_group(logits, vocab, group, kNeverFloat16, load_float16, out.logit);
      break;
    default: load_group(logits, vocab, group, kNever, load_float32, out.logit);
  }
  if (suppressed) suppressed->remove(group, out.logit);
}

float VocabularyRow::at(int64_t token) const {
  Group group;
  load(token / kGroup, group);
  return group.logit[token % kGroup];
}

}  // namespace unmask::cpu
