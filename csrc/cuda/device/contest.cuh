// Gumbel-max over tokens: the one of the highest score wins, ties to the lower id, whoever reads
// which token in what order. Scores are those of core/gumbel.h, to the bit.
#pragma once

#include "core/gumbel.h"
#include "cuda/device/vocabulary.cuh"

namespace unmask::cuda {

// order_key(score) << 32 | ~id: the larger one wins. 0: nobody. Above any id taken as a number.
using Entry = unsigned long long;

__device__ __forceinline__ int64_t id_of(Entry entry) { return static_cast<uint32_t>(~entry); }

// The tokens whose rank key is at most this may win: every one with a usable logit.
inline constexpr uint64_t kUncut = (uint64_t{0xffffffffu - kNeverKey} << 32) - 1;

// hits_of(first, quad) answers with bits which of four consecutive tokens, `first` a multiple of 4,
// go to visit(token, logit). A whole warp calls it; hits_of is called by all lanes at once.
template <class T, class HitsOf, class Visit>
__device__ __forceinline__ void for_each_hit(const TilePart<T>& part, int tile, HitsOf&& hits_of,
                                             Visit&& visit) {
#pragma unroll
  for (int i = 0; i < kPart; i += 4) {
    const int first = token_of<T>(tile, lane_id(), i);
    const float quad[4] = {part.logit(i), part.logit(i + 1), part.logit(i + 2), part.logit(i + 3)};
    for (unsigned hits = hits_of(first, quad); hits != 0; hits &= hits - 1) {
      const int j = __ffs(static_cast<int>(hits)) - 1;
      const float low = j & 1 ? quad[1] : quad[0], high = j & 1 ? quad[3] : quad[2];
      visit(first + j, j & 2 ? high : low);
    }
  }
}

// One lane's view of the contest.
class Contest {
 public:
  __device__ Contest(const NoiseStream& stream, float factor, uint64_t cut)
      : stream_(stream), factor_(factor), cut_(cut) {}

  // A whole warp's tile. Tokens far behind need no noise, most others no logarithm.
  template <class T>
  __device__ void enter(const TilePart<T>& part, int tile) {
    const float highest = largest(part);
    uint32_t limit = 0;
    bool hopeful = largest_word(highest, limit);
    if (!__any_sync(kWholeWarp, hopeful)) return;
    bool improved = false;
    const auto hits_of = [&](int first, const float (&)[4]) {
      if (__any_sync(kWholeWarp, improved)) {
        bound_ = warp_largest(bound_);
        hopeful = largest_word(highest, limit);
        improved = false;
      }
      const PhiloxBlock noise = noise_words(stream_, static_cast<uint32_t>(first) / 4);
      unsigned hits = 0;
#pragma unroll
      for (int j = 0; j < 4; ++j) hits |= static_cast<unsigned>(noise.word[j] <= limit) << j;
      return hopeful ? hits : 0;
    };
    for_each_hit(part, tile, hits_of, [&](int token, float logit) {
      uint32_t own_limit;
      if (largest_word(logit, own_limit)) improved |= enter(token, logit, own_limit);
    });
    bound_ = warp_largest(bound_);
  }

  // One token. True when it is the best that this lane knows of.
  __device__ bool enter(int token, float logit, uint32_t limit = 0xffffffffu) {
    const auto id = static_cast<uint32_t>(token);
    const PhiloxBlock noise = noise_words(stream_, id / 4);
    const uint32_t low = id & 1 ? noise.word[1] : noise.word[0];
    const uint32_t high = id & 1 ? noise.word[3] : noise.word[2];
    const uint32_t word = id & 2 ? high : low;
    if (word > limit || rank_key(logit, id) > cut_) return false;
    const float score = gumbel_score(logit, factor_, word);
    const Entry entry = static_cast<Entry>(order_key(score)) << 32 | ~id;
    if (!(score > never()) || entry <= best_) return false;
    best_ = entry;
    bound_ = score > bound_ ? score : bound_;
    return true;
  }

  __device__ Entry best() const { return best_; }

 private:
  // The noise of word w is at most -log((w + 1/2) / 2^32). So a token whose logit is at most
  // `highest` can reach the bound only with a word up to `limit`; false: with none. The slack is
  // what roundings can come to, of scores and of this exponential.
  __device__ bool largest_word(float highest, uint32_t& limit) const {
    const float mean = exact::mul(highest, factor_);
    if (!(highest > never() && mean > never())) return false;
    const float slack = 1e-4f + 1e-6f * (fabsf(mean) + fabsf(bound_));
    const float words = 0x1p32f * __expf(mean - bound_ + slack);
    limit = words < 0x1p32f ? static_cast<uint32_t>(words) : 0xffffffffu;  // NaN: all of them
    return !(words < 0.25f);
  }

  NoiseStream stream_;
  float factor_;
  uint64_t cut_;
  float bound_ = never();  // the highest score known of, in this warp
  Entry best_ = 0;
};

}  // namespace unmask::cuda
