// Sorting the nodes of one graph: least significant digit first, no branch depends on the data.
#pragma once

#include <algorithm>
#include <cstdint>

namespace unmask::cpu {

// One stable pass over the digit at `shift`, given how often each digit occurs.
template <int kDigitBits>
void radix_pass(const uint64_t* from, uint64_t* to, int64_t count, int shift, uint32_t* next) {
  constexpr uint64_t kBuckets = uint64_t{1} << kDigitBits;
  uint32_t begin = 0;
  for (uint64_t bucket = 0; bucket < kBuckets; ++bucket) {
    const uint32_t size = next[bucket];
    next[bucket] = begin;
    begin += size;
  }
  for (int64_t i = 0; i < count; ++i) to[next[from[i] >> shift & (kBuckets - 1)]++] = from[i];
}

// Two passes over the 2 * kDigitBits bits from `shift` up; the result is in `keys` again.
template <int kDigitBits>
void radix_sort_two_digits(uint64_t* keys, uint64_t* spare, int64_t count, int shift) {
  constexpr uint64_t kBuckets = uint64_t{1} << kDigitBits;
  uint32_t low[kBuckets] = {}, high[kBuckets] = {};
  for (int64_t i = 0; i < count; ++i) {
    ++low[keys[i] >> shift & (kBuckets - 1)];
    ++high[keys[i] >> (shift + kDigitBits) & (kBuckets - 1)];
  }
  radix_pass<kDigitBits>(keys, spare, count, shift, low);
  radix_pass<kDigitBits>(spare, keys, count, shift + kDigitBits, high);
}

// Finishes keys that are almost in order; false, with some of them moved, when they are not.
inline bool insertion_sort(uint64_t* keys, int64_t count) {
  int64_t moves = 4 * count;
  for (int64_t i = 1; i < count; ++i) {
    const uint64_t key = keys[i];
    int64_t hole = i;
    for (; hole > 0 && keys[hole - 1] > key; --hole) keys[hole] = keys[hole - 1];
    keys[hole] = key;
    moves -= i - hole;
    if (moves < 0) return false;
  }
  return true;
}

// Sorts 64-bit keys ascending, in place; `spare` is as long as `keys`. The bits below the highest
// in which keys differ sort nearly everything; what they leave, floats that lie close together,
// is few moves away from its place. Clustered keys, for which it is not, are sorted by comparing.
inline void sort_keys(uint64_t* keys, uint64_t* spare, int64_t count) {
  constexpr int64_t kFewKeys = 32;     // below, clearing the buckets costs more than comparing
  constexpr int64_t kManyKeys = 1500;  // above, finer digits are worth eight times the buckets
  if (count > kFewKeys) {
    uint64_t differing = 0;
    for (int64_t i = 1; i < count; ++i) differing |= keys[i] ^ keys[0];
    const int width = differing ? 64 - __builtin_clzll(differing) : 0;
    if (count < kManyKeys)
      radix_sort_two_digits<8>(keys, spare, count, std::max(width - 16, 0));
    else
      radix_sort_two_digits<11>(keys, spare, count, std::max(width - 22, 0));
    if (insertion_sort(keys, count)) return;
  }
  std::sort(keys, keys + count);
}

}  // namespace unmask::cpu
