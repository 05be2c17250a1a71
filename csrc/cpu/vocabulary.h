// A row of logits as the CPU reads it: groups of 512 tokens, widened to float32 in a buffer that
// stays in the first cache. Everything that can never win reads as -inf: NaN, suppressed tokens,
// and the tokens that the last group lacks.
#pragma once

#include <array>
#include <cstdint>
#include <limits>

#include "unmask/types.h"

namespace unmask::cpu {

inline constexpr int kGroup = 512;
inline constexpr int64_t kMaxGroups = kMaxVocab / kGroup;
inline constexpr float kNever = -std::numeric_limits<float>::infinity();
inline constexpr double kLog2 = 0.6931471805599453;  // nats in a bit

constexpr int64_t groups_of(int64_t vocab) { return (vocab + kGroup - 1) / kGroup; }

// scale * log2(e), kept finite.
inline float in_bits(float scale) {
  const double most = std::numeric_limits<float>::max();
  return static_cast<float>(scale / kLog2 < most ? scale / kLog2 : most);
}

struct alignas(64) Group {
  float logit[kGroup];
};

// The tokens that may not be chosen, as bits.
class Suppressed {
 public:
  Suppressed(const int64_t* tokens, int64_t count, int64_t vocab);
  void remove(int64_t group, float* logits) const;

 private:
  bool any_;
  std::array<uint64_t, kMaxVocab / 64> bits_;  // only the words of the vocabulary are set
};

struct VocabularyRow {
  const void* logits;
  DType type;
  int64_t vocab;
  const Suppressed* suppressed;

  int64_t groups() const { return groups_of(vocab); }
  void load(int64_t group, Group& out) const;
  float at(int64_t token) const;
};

// Sums over a group, relative to its largest logit; zero when it has no usable one.
struct GroupSums {
  float max;       // -inf: nothing usable
  float sum;       // sum of e_v = exp(scale * (x_v - max))
  float weighted;  // sum of e_v * scale * (max - x_v), in bits (log2 instead of log)
};

// `scale_log2` is in_bits(scale). The order of the sums is fixed: 64 lanes, then a tree.
GroupSums sum_group(const Group& group, float scale_log2);

// How the group's distribution differs from the one of the pass before.
struct GroupDivergence {
  GroupSums now;     // `weighted` is not filled
  GroupSums before;  // likewise
  double moved;      // sum of e_v * ((x_v - now.max) - (y_v - before.max))
  bool unbounded;    // a token that is possible now was impossible before
};

GroupDivergence compare_groups(const Group& now, const Group& before, float scale_log2);

// The largest of each 64th logit: entry i covers the tokens i, i + 64, ... of the group.
inline constexpr int kLanes = 64;
void largest_by_lane(const Group& group, float (&lanes)[kLanes]);

// The largest logit; -inf when nothing is usable.
float largest(const Group& group);

}  // namespace unmask::cpu
