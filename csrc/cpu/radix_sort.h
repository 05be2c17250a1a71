// Sorting the nodes of one graph: least significant digit first, no branch depends on the data.
#pragma once

#include <algorithm>
#include <cstdint>

namespace unmask::cpu {

// One stable pass over the digit at `shift`. False when all keys share it, and nothing moved.
template <int kDigitBits>
bool radix_pass(const uint64_t* from, uint64_t* to, int64_t count, int shift) {
  constexpr uint64_t kBuckets = uint64_t{1} << kDigitBits;
  uint32_t next[kBuckets] = {};
  const auto digit = [shift](uint64_t key) { return (key >> shift) & (kBuckets - 1); };

  for (int64_t i = 0; i < count; ++i) ++next[digit(from[i])];
  if (next[digit(from[0])] == count) return false;

  uint32_t begin = 0;
  for (uint64_t bucket = 0; bucket < kBuckets; ++bucket) {
    const uint32_t size = next[bucket];
    next[bucket] = begin;
    begin += size;
  }
  for (int64_t i = 0; i < count; ++i) to[next[digit(from[i])]++] = from[i];
  return true;
}

template <int kDigitBits>
uint64_t* radix_sort(uint64_t* keys, uint64_t* spare, int64_t count) {
  for (int shift = 32; shift < 64; shift += kDigitBits)
    if (radix_pass<kDigitBits>(keys, spare, count, shift)) std::swap(keys, spare);
  return keys;
}

// Sorts keys by their upper half; the lower half holds the node, ascending on entry, and settles
// ties by staying in order. Returns where the result is: in `keys` or in `spare`, as long as it.
inline uint64_t* sort_by_upper_half(uint64_t* keys, uint64_t* spare, int64_t count) {
  constexpr int64_t kFewKeys = 48;     // below, clearing the buckets costs more than comparing
  constexpr int64_t kManyKeys = 2000;  // above, three passes pay for eight times the buckets
  if (count <= kFewKeys) {
    std::sort(keys, keys + count);
    return keys;
  }
  return count < kManyKeys ? radix_sort<8>(keys, spare, count) : radix_sort<11>(keys, spare, count);
}

}  // namespace unmask::cpu
