// The two-level sampler. One more pass over the row bounds its parts; then few of them are looked at.
#include "core/two_level.h"

#include <algorithm>

#include "cpu/multiversion.h"
#include "cpu/sampling.h"

namespace unmask::cpu {
namespace {

using two_level::kAttemptsPerRound;
using two_level::kPartsPerTile;
using two_level::kPartTokens;
using two_level::kStretch;

constexpr int64_t kMaxParts = kMaxVocab / kPartTokens;
constexpr int kGroupsPerTile = kTile / kGroup;

// The largest logit of each part of a tile, as far as this group has it.
UNMASK_MULTIVERSION void raise_to_group(const Group& group, float (&largest)[kPartsPerTile]) {
  constexpr int kAcross = two_level::kToNextStretch;
  float across[kAcross];
#pragma omp simd
  for (int v = 0; v < kAcross; ++v) {
    float most = group.logit[v];
    for (int w = v + kAcross; w < kGroup; w += kAcross) most = std::max(most, group.logit[w]);
    across[v] = most;
  }
  for (int part = 0; part < kPartsPerTile; ++part)
    for (int v = 0; v < kStretch; ++v)
      largest[part] = std::max(largest[part], across[kStretch * part + v]);
}

struct Resolved {
  uint64_t mass;  // of the part
  int64_t token;  // at which the running mass exceeds the offset; -1: nowhere
};

Resolved resolve(const DrawArgs& args, const TokenMass& mass, int64_t part, uint64_t offset) {
  Resolved found{0, -1};
  Group group;
  int64_t loaded = -1;
  for (int i = 0; i < kPartTokens; ++i) {
    const int64_t token = two_level::token_of(part, i);
    if (token >= args.row.vocab) break;
    if (token / kGroup != loaded) args.row.load(loaded = token / kGroup, group);
    found.mass += mass.of(group.logit[token % kGroup]);
    if (found.token < 0 && offset < found.mass) found.token = token;
  }
  return found;
}

class Slots {
 public:
  Slots(const DrawArgs& args, const TokenMass& mass) : count_(two_level::parts_of(args.row.vocab)) {
    Group group;
    for (int64_t part = 0; part < count_; part += kPartsPerTile) {
      float largest[kPartsPerTile];
      std::fill_n(largest, kPartsPerTile, kNever);
      const int64_t first = part / kPartsPerTile * kGroupsPerTile;
      for (int64_t g = first; g < std::min(first + kGroupsPerTile, args.row.groups()); ++g) {
        if (!(args.maxima[g] > kNever)) continue;
        args.row.load(g, group);
        raise_to_group(group, largest);
      }
      for (int i = 0; i < kPartsPerTile; ++i)
        set(part + i, two_level::first_slot(two_level::short_key(largest[i]), mass));
    }
  }

  void set(int64_t part, uint64_t value) { slot_[part] = value; }

  uint64_t total() const {
    uint64_t sum = 0;
    for (int64_t part = 0; part < count_; ++part) sum += slot_[part];
    return sum;
  }

  // The slot that holds `point`, which becomes the offset in it.
  int64_t part_at(uint64_t& point) const {
    int64_t part = 0;
    while (point >= slot_[part]) point -= slot_[part++];
    return part;
  }

 private:
  int64_t count_;
  uint64_t slot_[kMaxParts];
};

}  // namespace

int64_t draw_token_in_two_levels(const DrawArgs& args) {
  const TokenMass mass(args.max, args.factor);
  Slots slots(args, mass);
  for (uint32_t attempt = 0;; attempt += kAttemptsPerRound) {
    const uint64_t total = slots.total();
    int64_t part[kAttemptsPerRound];
    uint64_t read[kAttemptsPerRound];
    for (uint32_t i = 0; i < kAttemptsPerRound; ++i) {
      uint64_t offset = two_level::point_of(args.stream, attempt + i, total);
      part[i] = slots.part_at(offset);
      const Resolved found = resolve(args, mass, part[i], offset);
      if (found.token >= 0) return found.token;
      read[i] = found.mass;
    }
    for (int i = 0; i < kAttemptsPerRound; ++i) slots.set(part[i], read[i]);
  }
}

}  // namespace unmask::cpu
