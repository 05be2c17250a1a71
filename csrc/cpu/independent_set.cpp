#include "unmask/independent_set.h"

#include <algorithm>

#include "core/float_order.h"
#include "cpu/multiversion.h"
#include "cpu/parallel.h"
#include "cpu/radix_sort.h"

namespace unmask::cpu {
namespace {

constexpr int kCacheLine = 16;  // words of a row that arrive together
constexpr int64_t kAhead = 6;   // rows asked for before they are needed

template <int kWords>
UNMASK_INLINE bool in_common(const int32_t* a, const int32_t* b) {
  int32_t common = 0;
#pragma omp simd reduction(| : common)
  for (int w = 0; w < kWords; ++w) common |= a[w] & b[w];
  return common != 0;
}

// Does the candidate's row have the bit of a node already taken? Most rows say so in their first
// lines, and the rest of them is then never read.
UNMASK_INLINE bool is_excluded(const int32_t* row, const int32_t* taken, int64_t words) {
  int64_t w = 0;
  for (; w + kCacheLine <= words; w += kCacheLine)
    if (in_common<kCacheLine>(row + w, taken + w)) return true;
  for (; w + kCacheLine / 4 <= words; w += kCacheLine / 4)
    if (in_common<kCacheLine / 4>(row + w, taken + w)) return true;
  for (; w < words; ++w)
    if (row[w] & taken[w]) return true;
  return false;
}

// Visits the nodes in the order of their keys.
UNMASK_MULTIVERSION void scan(const int32_t* conflict, int64_t words, const uint64_t* order,
                              int64_t count, bool* selected) {
  int32_t taken[kMaxNodes / kBitsPerWord];
  std::fill_n(taken, words, 0);
  const auto row_of = [&](int64_t rank) {
    return conflict + static_cast<uint32_t>(order[rank]) * words;
  };
  for (int64_t rank = 0; rank < count; ++rank) {
    if (rank + kAhead < count) __builtin_prefetch(row_of(rank + kAhead));
    if (is_excluded(row_of(rank), taken, words)) continue;
    const auto node = static_cast<uint32_t>(order[rank]);
    selected[node] = true;
    taken[node / kBitsPerWord] |= static_cast<int32_t>(1u << (node % kBitsPerWord));
  }
}

void scan_one_graph(const IndependentSetArgs& args, int64_t graph) {
  const int64_t nodes = args.nodes, words = words_for(nodes);
  const bool* eligible = args.eligible ? args.eligible + graph * nodes : nullptr;
  const float* priority = args.priority + graph * nodes;
  bool* selected = args.selected + graph * nodes;

  uint64_t keys[kMaxNodes], spare[kMaxNodes];
  int64_t count = 0;
  for (int64_t i = 0; i < nodes; ++i)
    if (!eligible || eligible[i]) keys[count++] = rank_key(priority[i], static_cast<uint32_t>(i));

  std::fill_n(selected, nodes, false);
  sort_keys(keys, spare, count);
  scan(args.conflict + graph * nodes * words, words, keys, count, selected);
}

}  // namespace

Status independent_set(const IndependentSetArgs& args, const Executor& executor) {
  if (Status status = validate(args); !status.ok()) return status;

  auto graphs = [&](int64_t begin, int64_t end) {
    for (int64_t graph = begin; graph < end; ++graph) scan_one_graph(args, graph);
  };
  parallel_for(executor, args.batch, graphs);
  return Status::success();
}

}  // namespace unmask::cpu
