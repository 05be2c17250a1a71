#include "unmask/independent_set.h"

#include <algorithm>

#include "core/float_order.h"
#include "cpu/multiversion.h"
#include "cpu/parallel.h"

namespace unmask::cpu {
namespace {

// Does the candidate's row have the bit of a node already taken?
UNMASK_MULTIVERSION bool is_excluded(const int32_t* row, const int32_t* taken, int64_t words) {
  int32_t common = 0;
#pragma omp simd reduction(| : common)
  for (int64_t w = 0; w < words; ++w) common |= row[w] & taken[w];
  return common != 0;
}

// The eligible nodes in visiting order; returns how many.
int64_t visiting_order(const float* priority, const bool* eligible, int64_t nodes,
                       uint64_t* order) {
  int64_t count = 0;
  for (int64_t i = 0; i < nodes; ++i)
    if (!eligible || eligible[i]) order[count++] = rank_key(priority[i], static_cast<uint32_t>(i));
  std::sort(order, order + count);
  return count;
}

void scan_one_graph(const IndependentSetArgs& args, int64_t graph) {
  const int64_t nodes = args.nodes, words = words_for(nodes);
  const bool* eligible = args.eligible ? args.eligible + graph * nodes : nullptr;
  bool* selected = args.selected + graph * nodes;

  uint64_t order[kMaxNodes];
  int32_t taken[kMaxNodes / kBitsPerWord] = {};
  const int64_t count = visiting_order(args.priority + graph * nodes, eligible, nodes, order);

  std::fill_n(selected, nodes, false);
  for (int64_t rank = 0; rank < count; ++rank) {
    const auto i = static_cast<uint32_t>(order[rank]);
    const int32_t* row = args.conflict + (graph * nodes + i) * words;
    if (is_excluded(row, taken, words)) continue;
    selected[i] = true;
    taken[i / kBitsPerWord] |= static_cast<int32_t>(1u << (i % kBitsPerWord));
  }
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
