#include "unmask/independent_set_csr.h"

#include <algorithm>
#include <string>

#include "core/float_order.h"
#include "cpu/radix_sort.h"

namespace unmask::cpu {
namespace {

// A graph whose claims are checked where they are used: a row or an index is never followed out of
// its array, and nothing is read only to be checked.
template <class Offset>
struct Rows {
  const Offset* indptr;
  const int32_t* indices;
  int64_t nodes;
  int64_t entries;

  bool has_row(int64_t i) const {
    return indptr[i] >= 0 && indptr[i] <= indptr[i + 1] && indptr[i + 1] <= entries;
  }
  bool has_node(int32_t j) const { return static_cast<uint32_t>(j) < static_cast<uint64_t>(nodes); }
};

Status bad_row(int64_t i) {
  return Status::invalid_argument("indptr must ascend within 0..E, got a row outside at node " +
                                  std::to_string(i));
}

Status bad_index(int64_t i, int32_t j, int64_t nodes) {
  return Status::invalid_argument("indices must be in 0.." + std::to_string(nodes - 1) + ", got " +
                                  std::to_string(j) + " in row " + std::to_string(i));
}

// A node is taken unless its row names one already taken.
template <class Offset>
Status scan(const Rows<Offset>& graph, const uint64_t* order, int64_t count, bool* selected) {
  for (int64_t rank = 0; rank < count; ++rank) {
    const auto i = static_cast<uint32_t>(order[rank]);
    if (!graph.has_row(i)) return bad_row(i);
    bool excluded = false;
    for (Offset e = graph.indptr[i]; e < graph.indptr[i + 1] && !excluded; ++e) {
      const int32_t j = graph.indices[e];
      if (!graph.has_node(j)) return bad_index(i, j, graph.nodes);
      excluded = selected[j];
    }
    selected[i] = !excluded;
  }
  return Status::success();
}

// The same set when edges go both ways: whoever is taken strikes out its own row.
template <class Offset>
Status scan_symmetric(const Rows<Offset>& graph, const uint64_t* order, int64_t count,
                      bool* excluded, bool* selected) {
  for (int64_t rank = 0; rank < count; ++rank) {
    const auto i = static_cast<uint32_t>(order[rank]);
    if (excluded[i]) continue;
    if (!graph.has_row(i)) return bad_row(i);
    for (Offset e = graph.indptr[i]; e < graph.indptr[i + 1]; ++e) {
      const int32_t j = graph.indices[e];
      if (!graph.has_node(j)) return bad_index(i, j, graph.nodes);
      excluded[j] = true;
    }
    selected[i] = true;
  }
  return Status::success();
}

template <class Offset>
Status run(const IndependentSetCsrArgs& args) {
  auto* keys = static_cast<uint64_t*>(args.workspace);
  uint64_t* spare = keys + args.nodes;
  int64_t count = 0;
  for (int64_t i = 0; i < args.nodes; ++i)
    if (!args.eligible || args.eligible[i])
      keys[count++] = rank_key(args.priority[i], static_cast<uint32_t>(i));

  sort_keys(keys, spare, count);
  const Rows<Offset> graph{static_cast<const Offset*>(args.indptr), args.indices, args.nodes,
                           args.entries};
  std::fill_n(args.selected, args.nodes, false);
  if (!args.symmetric) return scan(graph, keys, count, args.selected);

  auto* excluded = reinterpret_cast<bool*>(spare);
  std::fill_n(excluded, args.nodes, false);
  return scan_symmetric(graph, keys, count, excluded, args.selected);
}

}  // namespace

Status independent_set_csr(const IndependentSetCsrArgs& args, const Executor&) {
  if (Status status = validate(args); !status.ok()) return status;
  return args.indptr_type == DType::kInt64 ? run<int64_t>(args) : run<int32_t>(args);
}

}  // namespace unmask::cpu
