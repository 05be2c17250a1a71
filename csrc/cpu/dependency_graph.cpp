// Rows of the graph are made in strips of 32, tile by tile: the transposed scores a strip needs
// are read 32 at a time, and the second look at them (for the bits, once the row's threshold is
// known) finds them in the cache. A column of a tile is a lane of the sum.
#include "unmask/dependency_graph.h"

#include <algorithm>

#include "cpu/multiversion.h"
#include "cpu/parallel.h"

namespace unmask::cpu {
namespace {

constexpr int kSide = 32;  // of a tile; also the lanes of a sum and the bits of a word
static_assert(kSide == kBitsPerWord);

constexpr float kLeastRowSum = 1e-9f;  // a row of zeros normalises to zeros
constexpr float kLeastRowMax = 1e-8f;  // and has no edges

UNMASK_INLINE float zero_if_nan(float value) { return value == value ? value : 0.0f; }

// The stated order: lanes in pairs at distance 16, 8, 4, 2, 1.
UNMASK_INLINE float sum_of_lanes(float* lane) {
  for (int distance = kSide / 2; distance > 0; distance /= 2)
    for (int l = 0; l < distance; ++l) lane[l] += lane[l + distance];
  return lane[0];
}

// Bit c: the node at column first + c exists.
UNMASK_INLINE uint32_t existing(const int32_t* positions, int64_t first, int64_t count) {
  uint32_t bits = 0;
  for (int64_t c = 0; c < count; ++c) bits |= static_cast<uint32_t>(positions[first + c] >= 0) << c;
  return bits;
}

// One batch row of the problem.
struct Graph {
  const float* scores;
  const int32_t* positions;
  const float* row_sum;  // of each score row; null: scores are not normalised
  int64_t nodes;
  float tau;
  Edge edge;
  int32_t* conflict;
  float* degree;
};

// A strip of rows against one column of words: D, with 0 wherever there is no pair of nodes.
struct Tile {
  float score[kSide][kSide];
  uint32_t pairs[kSide];  // bit c of [r]: r and c are two existing nodes
};

UNMASK_INLINE void load_tile(const Graph& graph, int64_t top, int64_t rows, int64_t left,
                             int64_t columns, Tile& tile) {
  float across[kSide][kSide] = {};  // [c][r]: the mirrored scores, as they lie in memory
  for (int64_t c = 0; c < columns; ++c) {
    const float* row = graph.scores + (left + c) * graph.nodes + top;
    for (int64_t r = 0; r < rows; ++r) across[c][r] = zero_if_nan(row[r]);
    if (graph.row_sum)
      for (int64_t r = 0; r < rows; ++r)
        across[c][r] = zero_if_nan(across[c][r] / graph.row_sum[left + c]);
  }
  const uint32_t columns_there = existing(graph.positions, left, columns);
  for (int64_t r = 0; r < rows; ++r) {
    const bool there = graph.positions[top + r] >= 0;
    const int64_t self = top + r - left;
    tile.pairs[r] = there ? columns_there : 0u;
    if (self >= 0 && self < kSide) tile.pairs[r] &= ~(1u << self);

    float* out = tile.score[r];
    const float* row = graph.scores + (top + r) * graph.nodes + left;
    std::fill(out + columns, out + kSide, 0.0f);
    for (int64_t c = 0; c < columns; ++c) out[c] = zero_if_nan(row[c]);
    if (graph.row_sum)
      for (int64_t c = 0; c < columns; ++c)
        out[c] = zero_if_nan(out[c] / graph.row_sum[top + r]);
    for (int c = 0; c < kSide; ++c) out[c] = zero_if_nan((out[c] + across[c][r]) * 0.5f);
    for (int c = 0; c < kSide; ++c) out[c] = tile.pairs[r] >> c & 1u ? out[c] : 0.0f;
  }
}

UNMASK_INLINE float threshold(const Graph& graph, float row_max, float row_sum) {
  switch (graph.edge) {
    case Edge::kRowMax: return graph.tau * std::max(row_max, kLeastRowMax);
    case Edge::kRowSum: return graph.tau * row_sum;
    case Edge::kRaw: break;
  }
  return graph.tau;
}

UNMASK_MULTIVERSION void strip(const Graph& graph, int64_t top) {
  const int64_t rows = std::min<int64_t>(kSide, graph.nodes - top), words = words_for(graph.nodes);
  const auto columns = [&](int64_t left) {
    return std::min<int64_t>(kSide, graph.nodes - left);
  };
  Tile tile;
  float sum[kSide][kSide] = {}, most[kSide][kSide] = {};
  for (int64_t left = 0; left < graph.nodes; left += kSide) {
    load_tile(graph, top, rows, left, columns(left), tile);
    for (int64_t r = 0; r < rows; ++r)
      for (int c = 0; c < kSide; ++c) {
        sum[r][c] += tile.score[r][c];
        most[r][c] = tile.score[r][c] > most[r][c] ? tile.score[r][c] : most[r][c];
      }
  }
  float limit[kSide] = {};
  for (int64_t r = 0; r < rows; ++r) {
    graph.degree[top + r] = sum_of_lanes(sum[r]);
    limit[r] = threshold(graph, *std::max_element(most[r], most[r] + kSide), graph.degree[top + r]);
  }
  for (int64_t word = 0; word < words; ++word) {
    load_tile(graph, top, rows, word * kSide, columns(word * kSide), tile);
    for (int64_t r = 0; r < rows; ++r) {
      uint32_t bits = 0;
      for (int c = 0; c < kSide; ++c)
        bits |= static_cast<uint32_t>(tile.score[r][c] > limit[r]) << c;
      graph.conflict[(top + r) * words + word] = static_cast<int32_t>(bits & tile.pairs[r]);
    }
  }
}

// What a normalised row is divided by: its sum over the other nodes, in the same order as degrees.
UNMASK_MULTIVERSION float divisor(const Graph& graph, int64_t i) {
  const float* row = graph.scores + i * graph.nodes;
  float lane[kSide] = {};
  for (int64_t left = 0; left < graph.nodes; left += kSide) {
    const int64_t count = std::min<int64_t>(kSide, graph.nodes - left);
    for (int64_t c = 0; c < count; ++c) {
      const bool other = graph.positions[left + c] >= 0 && left + c != i;
      lane[c] += other ? zero_if_nan(row[left + c]) : 0.0f;
    }
  }
  return std::max(sum_of_lanes(lane), kLeastRowSum);
}

Graph graph_of(const DependencyGraphArgs& args, int64_t batch) {
  const int64_t nodes = args.nodes;
  return {args.scores + batch * nodes * nodes,
          args.positions + batch * nodes,
          nullptr,
          nodes,
          args.row_tau ? args.row_tau[batch] : args.tau,
          args.edge,
          args.conflict + batch * nodes * words_for(nodes),
          args.degree + batch * nodes};
}

// The divisors are kept for one batch row at a time, on the stack.
void normalised_graph(const DependencyGraphArgs& args, const Executor& executor, int64_t batch) {
  Graph graph = graph_of(args, batch);
  float row_sum[kMaxNodes];
  auto divisors = [&](int64_t begin, int64_t end) {
    for (int64_t chunk = begin; chunk < end; ++chunk)
      for (int64_t i = chunk * kSide; i < std::min((chunk + 1) * kSide, args.nodes); ++i)
        row_sum[i] = divisor(graph, i);
  };
  parallel_for(executor, words_for(args.nodes), divisors);

  graph.row_sum = row_sum;
  auto strips = [&](int64_t begin, int64_t end) {
    for (int64_t chunk = begin; chunk < end; ++chunk) strip(graph, chunk * kSide);
  };
  parallel_for(executor, words_for(args.nodes), strips);
}

}  // namespace

Status dependency_graph(const DependencyGraphArgs& args, const Executor& executor) {
  if (Status status = validate(args); !status.ok()) return status;
  if (args.normalize) {
    for (int64_t batch = 0; batch < args.batch; ++batch) normalised_graph(args, executor, batch);
    return Status::success();
  }
  const int64_t strips_per_graph = words_for(args.nodes);
  auto strips = [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task)
      strip(graph_of(args, task / strips_per_graph), task % strips_per_graph * kSide);
  };
  parallel_for(executor, args.batch * strips_per_graph, strips);
  return Status::success();
}

}  // namespace unmask::cpu
