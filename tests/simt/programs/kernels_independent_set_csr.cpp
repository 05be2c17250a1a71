// independent_set_csr: against the sequential scan, to the bit.
#include <cmath>
#include <numeric>
#include <vector>

#include "harness.h"
#include "unmask/independent_set_csr.h"

namespace {

using namespace unmask;
using programs::Array;
using programs::Random;

constexpr int64_t kBlock = 512;  // nodes that one block decides

struct Graph {
  std::vector<std::vector<int32_t>> rows;
  std::vector<float> priority;

  explicit Graph(int64_t nodes) : rows(nodes), priority(nodes) {}
  int64_t nodes() const { return static_cast<int64_t>(rows.size()); }
  void connect(int64_t i, int64_t j) {
    rows[i].push_back(static_cast<int32_t>(j));
    rows[j].push_back(static_cast<int32_t>(i));
  }
};

// The graph in arrays of exact size.
template <class Offset>
struct Arrays {
  Array<Offset> indptr;
  Array<int32_t> indices;
  Array<float> priority;
  Array<bool> eligible, expected, selected;
  Array<char> scratch, cuda_scratch;
  IndependentSetCsrArgs args{};

  static int64_t entries_of(const Graph& graph) {
    int64_t entries = 0;
    for (const auto& row : graph.rows) entries += static_cast<int64_t>(row.size());
    return entries;
  }
  static IndependentSetCsrArgs sizes(const Graph& graph) {
    IndependentSetCsrArgs args{};
    args.nodes = graph.nodes();
    args.entries = entries_of(graph);
    return args;
  }

  explicit Arrays(const Graph& graph)
      : indptr(graph.nodes() + 1),
        indices(entries_of(graph)),
        priority(graph.nodes()),
        eligible(graph.nodes(), true),
        expected(graph.nodes()),
        selected(graph.nodes(), true),
        scratch(independent_set_csr_workspace(sizes(graph)), char{3}),
        cuda_scratch(independent_set_csr_cuda_workspace(sizes(graph)), char{3}),
        args(sizes(graph)) {
    int64_t entry = 0;
    for (int64_t i = 0; i < graph.nodes(); ++i) {
      for (const int32_t j : graph.rows[i]) indices[entry++] = j;
      indptr[i + 1] = static_cast<Offset>(entry);
      priority[i] = graph.priority[i];
    }
    args.indptr = indptr.get();
    args.indptr_type = sizeof(Offset) == 8 ? DType::kInt64 : DType::kInt32;
    args.indices = indices.get();
    args.priority = priority.get();
  }

  void run_cuda() {
    args.selected = selected.get();
    args.workspace = cuda_scratch.get();
    REQUIRE(cuda::independent_set_csr(args, nullptr).ok());
  }

  void compare() {
    args.selected = expected.get();
    args.workspace = scratch.get();
    REQUIRE(cpu::independent_set_csr(args).ok());
    run_cuda();
    REQUIRE(selected == expected);
  }
};

void compare(const Graph& graph) { Arrays<int32_t>(graph).compare(); }

// Directed, with ties, NaN, repeated entries and nodes that exclude themselves.
Graph random_graph(int64_t nodes, double degree) {
  Random random(nodes);
  Graph graph(nodes);
  for (int64_t i = 0; i < nodes; ++i) {
    const auto entries = static_cast<int64_t>(2 * degree * programs::uniform(random));
    for (int64_t k = 0; k < entries; ++k)
      graph.rows[i].push_back(static_cast<int32_t>(random() % nodes));
    graph.priority[i] = random() % 9 == 0 ? NAN : static_cast<float>(random() % 40) - 20.0f;
  }
  return graph;
}

// A path through `order`, each node earlier than the next; the others stand alone.
Graph path(int64_t nodes, const std::vector<int64_t>& order) {
  Graph graph(nodes);
  for (size_t k = 0; k < order.size(); ++k) {
    graph.priority[order[k]] = -static_cast<float>(k);
    if (k > 0) graph.connect(order[k - 1], order[k]);
  }
  return graph;
}

}  // namespace

SIMT_TEST(independent_set_csr_of_random_graphs) {
  for (const int64_t nodes : {1, 2, 31, 32, 33, 100})
    for (const double degree : {0.0, 2.0, 30.0}) {
      Arrays<int32_t> narrow(random_graph(nodes, degree));
      narrow.compare();
      Arrays<int64_t> wide(random_graph(nodes, degree));
      Random random(nodes);
      for (int64_t i = 0; i < nodes; ++i) wide.eligible[i] = random() % 4 != 0;
      wide.args.eligible = wide.eligible.get();
      wide.compare();
    }
}

SIMT_TEST(independent_set_csr_of_several_blocks) {
  compare(random_graph(kBlock + 20, 4.0));
  compare(random_graph(kBlock + 1, 40.0));
}

SIMT_TEST(independent_set_csr_of_chains) {
  constexpr int64_t kNodes = kBlock + 16;
  std::vector<int64_t> order(100);  // across the border of two blocks
  std::iota(order.begin(), order.end(), kNodes - 100);
  compare(path(kNodes, order));
  compare(path(kNodes, {order.rbegin(), order.rend()}));

  std::vector<int64_t> weaving;  // each link leads to the other block: more than the rounds follow
  for (int64_t i = 0; i < 16; ++i) weaving.insert(weaving.end(), {i, kBlock + i});
  compare(path(kNodes, weaving));
}

// A hub in the other block, behind a chain: its neighbours wait for it in one list.
SIMT_TEST(independent_set_csr_of_a_late_hub) {
  constexpr int64_t kHub = kBlock;
  for (const int64_t links : {6, 7}) {
    Graph graph(kBlock + 8);
    for (int64_t k = 0; k < links; ++k) {
      const int64_t from = k % 2 ? kBlock + 1 + k / 2 : k / 2;
      const int64_t to = k + 1 == links ? kHub : (k % 2 ? (k + 1) / 2 : kBlock + 1 + k / 2);
      graph.priority[from] = 100.0f - static_cast<float>(k);
      graph.connect(from, to);
    }
    for (int64_t leaf = 10; leaf < kBlock; ++leaf) graph.connect(kHub, leaf);
    graph.priority[kHub] = 1.0f;
    compare(graph);
  }
}

SIMT_TEST(independent_set_csr_of_stars) {
  for (const float priority : {-1.0f, 0.0f, 1.0f, INFINITY, -INFINITY, NAN}) {
    Graph graph(300);
    graph.priority[150] = priority;
    for (int64_t leaf = 0; leaf < 300; ++leaf)
      if (leaf != 150) graph.connect(150, leaf);
    compare(graph);
  }
}

// Everybody is excluded by node 0 alone, which row i names once, in place i.
SIMT_TEST(independent_set_csr_misses_no_entry_of_a_long_row) {
  constexpr int64_t kLength = 300, kLast = kLength + 1;
  Graph graph(kLength + 2);
  for (int64_t i = 1; i <= kLength; ++i) {
    graph.rows[i].assign(kLength, kLast);
    graph.rows[i][i - 1] = 0;
  }
  compare(graph);
}

// Rows and indices outside their arrays exclude nobody, and nothing is read through them.
SIMT_TEST(independent_set_csr_ignores_what_points_outside) {
  Graph graph(4);
  graph.rows = {{-1, 0x7fffffff}, {0, 4}, {1, -0x7fffffff - 1}, {2}};
  graph.priority = {4.0f, 3.0f, 2.0f, 1.0f};
  Arrays<int64_t> arrays(graph);
  const auto selects = [&](bool a, bool b, bool c, bool d) {
    arrays.run_cuda();
    const Array<bool>& selected = arrays.selected;
    return selected[0] == a && selected[1] == b && selected[2] == c && selected[3] == d;
  };
  REQUIRE(selects(true, false, true, false));
  arrays.indptr[4] = 8;  // row 3 ends outside
  REQUIRE(selects(true, false, true, true));
  arrays.indptr[2] = int64_t{1} << 40;  // so does row 1, and row 2 starts there
  REQUIRE(selects(true, true, true, true));
  arrays.indptr[1] = -5;
  arrays.indptr[4] = 0;
  REQUIRE(selects(true, true, true, true));
}

SIMT_TEST(independent_set_csr_of_nothing) {
  REQUIRE(cuda::independent_set_csr(IndependentSetCsrArgs{}, nullptr).ok());
}
