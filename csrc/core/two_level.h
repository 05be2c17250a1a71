// Exact sampling that reads little of a row: by rejection from an envelope that adapts.
//
// A row is cut into parts of 64 tokens; bounds of whole tiles are so loose that most of a row would
// be read. Each part has a slot, an integer that is at least what its tokens weigh together
// (core/token_mass.h): at first 64 times the weight of an upper bound of its largest logit. An
// attempt takes a point, uniform below the sum of all slots. It lies in one slot, at an offset; only
// now that part is read. Below the part's true mass the attempt is accepted: the token is the one at
// which the part's running mass, ids ascending, first exceeds the offset. Otherwise the slot becomes
// the true mass.
//
// Whatever was rejected before, an accepted point is uniform over the true masses, because each of
// them lies wholly within its slot: every token is drawn in proportion to its mass, exactly but for
// the rounding of masses and of 64 random bits. A rejection makes one more slot exact, so there is
// an end; mostly it comes after a few tens of parts.
//
// Attempts are numbered, and go in rounds of 8 that see the same slots: a GPU makes them together,
// and the lowest accepted number counts. All decisions are made on integers that depend on the
// logits alone: every backend draws the same token.
//
// Source: rejection sampling from an envelope that each rejection tightens is the idea of Gilks and
// Wild, "Adaptive Rejection Sampling for Gibbs Sampling", Applied Statistics 41, 1992.
#pragma once

#include <cstdint>

#include "core/float_order.h"
#include "core/gumbel.h"
#include "core/token_mass.h"
#include "core/vocabulary_tiles.h"

namespace unmask::two_level {

inline constexpr int kPartTokens = 64;
inline constexpr int kPartsPerTile = kTile / kPartTokens;
inline constexpr int kStretch = 8;  // tokens that lie side by side
inline constexpr int kToNextStretch = kStretch * kPartsPerTile;
inline constexpr int kAttemptsPerRound = 8;

UNMASK_HOST_DEVICE int64_t parts_of(int64_t vocab) {
  return (vocab + kTile - 1) / kTile * kPartsPerTile;
}

// A part's tokens are 8 stretches of its tile, 128 tokens apart. So each lane of a CUDA warp that
// reads a tile, of whatever type, has tokens of one part only.
//
// The i-th token of a part, ascending; it may lie behind the vocabulary.
UNMASK_HOST_DEVICE int64_t token_of(int64_t part, int i) {
  const int64_t first = part / kPartsPerTile * kTile + part % kPartsPerTile * kStretch;
  return first + i / kStretch * kToNextStretch + i % kStretch;
}

// And back.
UNMASK_HOST_DEVICE int64_t part_of(int64_t token) {
  return token / kTile * kPartsPerTile + token / kStretch % kPartsPerTile;
}
UNMASK_HOST_DEVICE int place_of(int64_t token) {
  return static_cast<int>(token % kTile / kToNextStretch * kStretch + token % kStretch);
}

// The upper half of the order_key of a part's largest logit stands for all logits that share it.
UNMASK_HOST_DEVICE uint16_t short_key(float largest) {
  return static_cast<uint16_t>(order_key(largest) >> 16);
}

// The slot of a part that has not been read. The extra 2^-20 is for exp2, whose result may be smaller
// for a larger argument, though by no more than its last bit.
UNMASK_HOST_DEVICE uint64_t first_slot(uint16_t key, const TokenMass& mass) {
  constexpr uint16_t kNothing = 0x007f;  // of -inf: no usable token
  if (key <= kNothing) return 0;
  const float bound = value_of_key(static_cast<uint32_t>(key) << 16 | 0xffffu);
  const uint64_t most = mass.of(bound < mass.max ? bound : mass.max);
  return kPartTokens * (most + (most >> 20) + 1);
}

// floor(a * b / 2^64)
UNMASK_HOST_DEVICE uint64_t high_half(uint64_t a, uint64_t b) {
  const uint64_t a_low = a & 0xffffffffu, a_high = a >> 32;
  const uint64_t b_low = b & 0xffffffffu, b_high = b >> 32;
  const uint64_t middle = a_high * b_low + (a_low * b_low >> 32);
  const uint64_t other = a_low * b_high + (middle & 0xffffffffu);
  return a_high * b_high + (middle >> 32) + (other >> 32);
}

// The point of an attempt, uniform in [0, total). Its noise lies at counters from 2^31 on, above
// those of tokens (below 2^18) and below that of `select` (2^32 - 1).
UNMASK_HOST_DEVICE uint64_t point_of(const NoiseStream& stream, uint32_t attempt, uint64_t total) {
  const PhiloxBlock noise = noise_words(stream, 0x80000000u + attempt);
  return high_half(static_cast<uint64_t>(noise.word[0]) << 32 | noise.word[1], total);
}

}  // namespace unmask::two_level
