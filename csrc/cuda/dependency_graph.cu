// Conflict bits and degrees: one block per strip of 8 rows, all columns.
//
//   in   scores     [batch, nodes, nodes], positions [batch, nodes], row_tau [batch] or null
//   out  conflict   [batch, nodes, words]  bit j of row i: j excludes i
//   out  degree     [batch, nodes]
//
// With `normalize` a launch before this one writes what every row is divided by into row_sum.
//
// D of the strip is made in shared memory: first the mirrored scores, eight neighbours of a column
// at a time, so that every sector of 32 bytes that is read is used; then, on top of them, the rows
// themselves. NaN marks what is no pair of two existing nodes, because no D is NaN. A warp per row
// adds up and finds the maximum in the order of dependency_graph.h; ballots make the bits.
//
// Cost: every score is read twice, once in its row and once mirrored, and the bits are written; one
// launch, four barriers. Beyond 4096 nodes a strip does not fit and is made twice, in two parts.
#include "cuda/dependency_graph.h"

#include "cuda/device/row_sums.cuh"
#include "cuda/launch.h"

namespace unmask::cuda {
namespace {

constexpr int kStrip = 8;           // rows of a block: 32 bytes of a column
constexpr int kMostColumns = 4096;  // of a strip in shared memory
constexpr int kWordRun = 8;         // words that a warp makes and writes together

constexpr float kLeastRowMax = 1e-8f;  // a row of zeros has no edges

// Four neighbouring columns of eight rows, as they arrive, meet no bank twice.
constexpr int stride_for(int columns) { return (columns + kWarp - 1) / kWarp * kWarp + 4; }

// The rows of one graph that a block makes.
struct Strip {
  const float* scores;
  const int32_t* positions;
  const float* row_sum;  // null: scores are not normalised
  int nodes;
  int top;   // first row
  int rows;  // at most kStrip
};

// Columns left .. left + columns of a strip, in shared memory.
struct Tile {
  float* cells;
  int left;
  int columns;

  __device__ __forceinline__ float& at(int row, int column) const {
    return cells[row * stride_for(columns) + column];
  }
};

template <bool kNormalize>
__device__ __forceinline__ float score_of(const Strip& strip, int row, int column) {
  const float score = zero_if_nan(strip.scores[static_cast<int64_t>(row) * strip.nodes + column]);
  return kNormalize ? zero_if_nan(score / strip.row_sum[row]) : score;
}

template <bool kNormalize>
__device__ __forceinline__ void load_mirrored(const Strip& strip, const Tile& tile) {
  const int row = static_cast<int>(threadIdx.x) % kStrip;
  if (row >= strip.rows) return;
#pragma unroll 4
  for (int column = threadIdx.x / kStrip; column < tile.columns; column += blockDim.x / kStrip)
    tile.at(row, column) = score_of<kNormalize>(strip, tile.left + column, strip.top + row);
}

// One warp finishes 32 columns of one row: D, or NaN where there is no pair.
template <bool kNormalize>
__device__ __forceinline__ void add_rows(const Strip& strip, const Tile& tile) {
  const int warps = blockDim.x / kWarp, runs = (tile.columns + kWarp - 1) / kWarp;
#pragma unroll 4
  for (int unit = warp_id(); unit < kStrip * runs; unit += warps) {
    const int row = unit % kStrip, column = unit / kStrip * kWarp + lane_id();
    if (row >= strip.rows) continue;
    const int i = strip.top + row, j = tile.left + column;
    float d = NAN;
    if (column < tile.columns && i != j && strip.positions[i] >= 0 && strip.positions[j] >= 0)
      d = zero_if_nan((score_of<kNormalize>(strip, i, j) + tile.at(row, column)) * 0.5f);
    tile.at(row, column) = d;
  }
}

// Ends with a barrier; one must have passed since the tile was last read.
template <bool kNormalize>
__device__ void make_tile(const Strip& strip, const Tile& tile) {
  load_mirrored<kNormalize>(strip, tile);
  __syncthreads();
  add_rows<kNormalize>(strip, tile);
  __syncthreads();
}

__device__ __forceinline__ float threshold(Edge edge, float tau, float row_max, float row_sum) {
  switch (edge) {
    case Edge::kRowMax: return tau * (row_max < kLeastRowMax ? kLeastRowMax : row_max);
    case Edge::kRowSum: return tau * row_sum;
    case Edge::kRaw: break;
  }
  return tau;
}

// `conflict` is the strip's first word of the tile's first column.
__device__ void write_bits(const Strip& strip, const Tile& tile, const float* limits,
                           int32_t* conflict) {
  const int words_of_a_row = static_cast<int>(words_for(strip.nodes));
  const int words = static_cast<int>(words_for(tile.columns));
  const int runs = (words + kWordRun - 1) / kWordRun, warps = blockDim.x / kWarp;
  for (int unit = warp_id(); unit < kStrip * runs; unit += warps) {
    const int row = unit % kStrip, first = unit / kStrip * kWordRun;
    if (row >= strip.rows) continue;
    uint32_t mine = 0;
    for (int w = 0; w < min(kWordRun, words - first); ++w) {
      const float d = tile.at(row, (first + w) * kBitsPerWord + lane_id());
      const uint32_t bits = __ballot_sync(kWholeWarp, d > limits[row]);
      if (lane_id() == w) mine = bits;
    }
    if (lane_id() < min(kWordRun, words - first))
      conflict[row * words_of_a_row + first + lane_id()] = static_cast<int32_t>(mine);
  }
}

__device__ Strip strip_of(const DependencyGraphArgs& args, int64_t batch, int top) {
  const int nodes = static_cast<int>(args.nodes);
  return {args.scores + batch * nodes * nodes,
          args.positions + batch * nodes,
          args.normalize ? args.row_sum + batch * nodes : nullptr,
          nodes,
          top,
          min(kStrip, nodes - top)};
}

template <bool kNormalize>
__global__ void __launch_bounds__(kMaxBlock)
    dependency_graph_kernel(const DependencyGraphArgs args) {
  UNMASK_DYNAMIC_SHARED(bytes);
  UNMASK_SHARED(limits, float[kStrip]);

  const int nodes = static_cast<int>(args.nodes), strips = (nodes + kStrip - 1) / kStrip;
  const int64_t batch = blockIdx.x / strips;
  const Strip strip = strip_of(args, batch, static_cast<int>(blockIdx.x % strips) * kStrip);
  const auto tile_at = [&](int left) {
    return Tile{reinterpret_cast<float*>(bytes), left, min(kMostColumns, nodes - left)};
  };

  const int row = warp_id();  // the first warps add up a row each
  float sum = 0.0f, most = 0.0f;
  for (int left = 0; left < nodes; left += kMostColumns) {
    const Tile tile = tile_at(left);
    make_tile<kNormalize>(strip, tile);
    for (int c = lane_id(); row < strip.rows && c < tile.columns; c += kWarp) {
      const float d = zero_if_nan(tile.at(row, c));
      sum += d;
      most = most < d ? d : most;
    }
    __syncthreads();
  }
  sum = warp_sum(sum);
  most = warp_max(most);
  if (row < strip.rows && lane_id() == 0) {
    args.degree[batch * nodes + strip.top + row] = sum;
    limits[row] = threshold(args.edge, args.row_tau ? args.row_tau[batch] : args.tau, most, sum);
  }
  __syncthreads();

  int32_t* conflict = args.conflict + (batch * nodes + strip.top) * words_for(nodes);
  for (int left = 0; left < nodes; left += kMostColumns) {
    const Tile tile = tile_at(left);
    if (nodes > kMostColumns) make_tile<kNormalize>(strip, tile);
    write_bits(strip, tile, limits, conflict + left / kBitsPerWord);
    __syncthreads();
  }
}

__global__ void __launch_bounds__(kStrip* kWarp) row_sum_kernel(const RowSums args, int64_t rows) {
  const int64_t row = blockIdx.x * int64_t{kStrip} + warp_id();
  if (row < rows) write_row_sum(args, row);
}

}  // namespace

Status dependency_graph_summed(const DependencyGraphArgs& args, Stream stream) {
  if (args.batch == 0 || args.nodes == 0) return Status::success();
  const int64_t strips = (args.nodes + kStrip - 1) / kStrip;
  const int columns = static_cast<int>(std::min<int64_t>(args.nodes, kMostColumns));
  LaunchShape shape{static_cast<unsigned>(args.batch * strips),
                    std::max<unsigned>(threads_for(args.nodes / 2), kStrip * kWarp)};
  shape.shared_bytes = sizeof(float) * kStrip * static_cast<size_t>(stride_for(columns));
  const auto kernel =
      args.normalize ? dependency_graph_kernel<true> : dependency_graph_kernel<false>;
  return launch("dependency_graph", kernel, shape, stream, args);
}

Status dependency_graph(const DependencyGraphArgs& args, Stream stream) {
  if (Status status = validate(args); !status.ok()) return status;
  const int64_t rows = args.batch * args.nodes;
  if (args.normalize && rows > 0) {
    const RowSums sums{args.scores, args.positions, args.row_sum, args.nodes};
    const LaunchShape shape{static_cast<unsigned>((rows + kStrip - 1) / kStrip), kStrip * kWarp};
    if (Status status = launch("row_sum", row_sum_kernel, shape, stream, sums, rows); !status.ok())
      return status;
  }
  return dependency_graph_summed(args, stream);
}

}  // namespace unmask::cuda
