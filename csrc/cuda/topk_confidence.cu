// The most probable tokens of masked rows, and how sure the row is of them, in one read of it.
//
//   in   the row of logits that each node reads
//   out  token, confidence  [batch, nodes]     the most probable token and its probability
//        ids, probs         [batch, nodes, k]  the k most probable
//        entropy, logsumexp [batch, nodes]
//
// A block has a row; where rows are few, up to 8 blocks share one. Each warp reads a tile of 1024
// tokens at a time (device/vocabulary.cuh): its largest logit first, by one warp maximum, then one
// exponential per token relative to that. What is kept of a tile are three sums in shared memory
// and 32 delegates (device/top_tokens.cuh), from which the top k is found afterwards; only the
// parts that hold it are read again.
//
// Of the most probable token's tile the sums are taken once more, without that token: the others'
// probability relative to the winner's 1 is what all outputs are made of, and a row that is all but
// decided keeps its digits. One warp adds the tiles up, in float64 and in an order that the
// vocabulary alone fixes: neither the number of blocks nor the rest of the batch changes a bit.
//
// For the two-level sampler the delegates stay in the workspace, the larger of each two.
//
// Blocks that share a row leave sums and top k in the workspace; the last to arrive, by a counter
// that starts at 0, merges them. Nobody waits.
//
// Cost: each masked row once, and about k parts of 64 or 128 bytes; per token one exponential and
// about eight other instructions. A node that is padding costs the start of a block.
#include "cuda/topk_confidence.h"

#include <algorithm>

#include "core/confidence_split.h"
#include "cuda/device/logit_rows.cuh"
#include "cuda/device/top_tokens.cuh"
#include "cuda/dispatch.h"
#include "cuda/launch.h"
#include "cuda/sampling.h"

namespace unmask::cuda {
namespace {

constexpr int kThreads = kMostWarps * kWarp;
constexpr float kLeastExponent = -126.0f;  // below 2^-126 nothing counts

__device__ __forceinline__ float infinity() { return __uint_as_float(0x7f800000u); }

struct Scratch {
  TopScratch search;
  TileSums without;  // the tile of our best token, without that token
  bool last;
};

// The tiles of one block.
template <class T, bool kSuppress>
struct Slice {
  using Logit = T;

  VocabularyRow<T> row;
  int first;
  int count;
  TileSums* sums;        // [tiles of the row]; we fill ours
  uint16_t* delegates;   // [count][32]
  uint32_t* suppressed;  // bits of our tokens

  __device__ __forceinline__ void load(int tile, int lane, TilePart<T>& part) const {
    load_part(row, first + tile, lane, part);
    if constexpr (kSuppress) remove_suppressed(suppressed, tile, lane, part);
  }

  // One of our tokens.
  __device__ __forceinline__ float logit(int token) const {
    if (token >= row.vocab) return never();
    if (kSuppress && has_bit(suppressed, token - first * kTile)) return never();
    return max(to_float(row.logits[token]), never());
  }
};

// The whole warp calls it, with the largest logit of all its parts; valid in lane 0.
template <class T>
__device__ __forceinline__ TileSums sum_tile(const TilePart<T>& part, float most,
                                             float scale_log2) {
  float sum[2] = {0.0f, 0.0f}, weighted[2] = {0.0f, 0.0f};
#pragma unroll
  for (int i = 0; i < kPart; ++i) {
    // Subtract first: x * scale - most * scale would lose what large logits have in common. The
    // maximum also catches NaN and -inf.
    const float t = max((part.raw(i) - most) * scale_log2, kLeastExponent);
    const float e = fast_exp2(t);
    sum[i % 2] += e;
    weighted[i % 2] = __fmaf_rn(-e, t, weighted[i % 2]);
  }
  return {most, warp_sum(sum[0] + sum[1]), warp_sum(weighted[0] + weighted[1])};
}

template <class T, bool kSuppress>
__device__ __forceinline__ void sum_slice(const Slice<T, kSuppress>& slice, float scale_log2) {
  for (int tile = warp_id(); tile < slice.count; tile += blockDim.x / kWarp) {
    TilePart<T> part;
    slice.load(tile, lane_id(), part);
    const float mine = largest(part);
    slice.delegates[tile * kWarp + lane_id()] = delegate_of(mine);
    const TileSums sums = sum_tile(part, warp_largest(mine), scale_log2);
    if (lane_id() == 0) slice.sums[slice.first + tile] = sums;
  }
}

// The sums of the best token's tile without that token. For one warp; valid in lane 0.
template <class T, bool kSuppress>
__device__ __forceinline__ TileSums sum_without(const Slice<T, kSuppress>& slice, uint64_t best,
                                                float scale_log2) {
  if (best == kNoMerit) return {never(), 0.0f, 0.0f};
  const int token = token_of_merit(best), tile = token / kTile;
  TilePart<T> part;
  slice.load(tile - slice.first, lane_id(), part);
#pragma unroll
  for (int i = 0; i < kPart; ++i)
    if (token_of<T>(tile, lane_id(), i) == token) part.remove(i);
  return sum_tile(part, warp_largest(largest(part)), scale_log2);
}

// ---- several blocks to a row --------------------------------------------------------------------

// Leaves what the others need; true for the last block of the row to do so.
__device__ bool leave(const TopKConfidenceArgs& args, const ConfidenceSplit& split, int first,
                      int count, const TileSums* sums, Scratch& shared) {
  const int64_t cell = blockIdx.x, visit = cell * split.slices + blockIdx.y;
  for (int j = threadIdx.x; j < args.k; j += blockDim.x)
    split.best[visit * args.k + j] = shared.search.top[j];
  TileSums* const row = split.sums + cell * tiles_of(args.rows.vocab);
  for (int tile = threadIdx.x; tile < count; tile += blockDim.x)
    row[first + tile] = sums[first + tile];
  if (threadIdx.x == 0) split.without[visit] = shared.without;

  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0)
    shared.last = atomicAdd(&split.arrived[cell], 1u) == static_cast<uint32_t>(split.slices) - 1;
  __syncthreads();
  return shared.last;
}

__device__ __forceinline__ TileSums read_sums(const TileSums* from) {
  return {__ldcg(&from->max), __ldcg(&from->sum), __ldcg(&from->weighted)};
}

// What all blocks of the row left, as if one block had done it.
__device__ void gather(const TopKConfidenceArgs& args, const ConfidenceSplit& split, TileSums* sums,
                       Scratch& shared) {
  const int64_t cell = blockIdx.x, visits = cell * split.slices;
  __threadfence();  // behind the counter, before what it counted
  const int tiles = static_cast<int>(tiles_of(args.rows.vocab));
  const int found = static_cast<int>(split.slices * args.k);
  for (int i = threadIdx.x; i < found; i += blockDim.x)
    shared.search.candidates[i] = __ldcg(&split.best[visits * args.k + i]);
  for (int tile = threadIdx.x; tile < tiles; tile += blockDim.x)
    sums[tile] = read_sums(&split.sums[cell * tiles + tile]);
  __syncthreads();
  merge_ranked(static_cast<int>(split.slices), static_cast<int>(args.k), shared.search);
  if (threadIdx.x == 0 && shared.search.top[0] != kNoMerit) {
    const int64_t tile = token_of_merit(shared.search.top[0]) / kTile;
    shared.without = read_sums(&split.without[visits + tile / split.tiles_per_slice]);
  }
}

// ---- results, by one warp -----------------------------------------------------------------------

__device__ void write_nothing(const TopKConfidenceArgs& args, int64_t cell) {
  for (int j = lane_id(); j < args.k; j += kWarp) {
    args.ids[cell * args.k + j] = -1;
    args.probs[cell * args.k + j] = 0.0f;
  }
  if (lane_id() != 0) return;
  args.token[cell] = -1;
  args.confidence[cell] = 0.0f;
  args.entropy[cell] = 0.0f;
  args.logsumexp[cell] = never();
}

// The others' exp(scale * (x - most)), most being the logit of the token they are without.
struct Others {
  double sum;
  double weighted;  // of e_v * scale * (most - x_v), in bits
};

// Valid in every lane.
__device__ Others add_tiles(const TileSums* sums, int tiles, double most, double scale_log2) {
  Others others{0.0, 0.0};
  for (int tile = lane_id(); tile < tiles; tile += kWarp) {
    const TileSums one = sums[tile];
    if (!(one.max > never())) continue;
    const double behind = (most - one.max) * scale_log2;
    const double weight = fast_exp2_wide(-behind);
    others.sum += weight * one.sum;
    others.weighted += weight * (one.weighted + one.sum * behind);
  }
  return {__shfl_sync(kWholeWarp, warp_sum(others.sum), 0),
          __shfl_sync(kWholeWarp, warp_sum(others.weighted), 0)};
}

// `sums` are the row's, those of the winner's tile without it.
__device__ void write_row(const TopKConfidenceArgs& args, int64_t cell, const uint64_t* top,
                          const TileSums* sums) {
  constexpr double kLog2e = 1.4426950408889634, kLog2 = 0.6931471805599453;
  const double most = logit_of_merit(top[0]), scale = args.rows.logit_scale;
  const bool certain = most == infinity();  // takes all; the first of several takes it alone
  Others others{0.0, 0.0};
  if (!certain)
    others = add_tiles(sums, static_cast<int>(tiles_of(args.rows.vocab)), most, scale * kLog2e);

  const double total = 1.0 + others.sum;
  for (int j = lane_id(); j < args.k; j += kWarp) {
    const uint64_t merit = top[j];
    float probability = certain && j == 0 ? 1.0f : 0.0f;
    if (!certain && merit != kNoMerit) {
      const double behind = (most - logit_of_merit(merit)) * (scale * kLog2e);
      probability = static_cast<float>(fast_exp2_wide(-behind) / total);
    }
    args.ids[cell * args.k + j] = merit == kNoMerit ? -1 : token_of_merit(merit);
    args.probs[cell * args.k + j] = probability;
  }
  if (lane_id() != 0) return;
  const double log_total = log1p(others.sum);
  args.token[cell] = token_of_merit(top[0]);
  args.confidence[cell] = static_cast<float>(1.0 / total);
  args.entropy[cell] = static_cast<float>(log_total + kLog2 * others.weighted / total);
  args.logsumexp[cell] = certain ? infinity() : static_cast<float>(scale * most + log_total);
}

// ---- the kernel ---------------------------------------------------------------------------------

// Shared memory of one block: sums of the row's tiles, then bits and delegates of its own.
struct SharedLayout {
  int64_t suppressed;  // offsets in bytes
  int64_t delegates;
  int64_t bytes;
};

__host__ __device__ __forceinline__ SharedLayout shared_layout(const TopKConfidenceArgs& args,
                                                               int64_t tiles_per_slice) {
  constexpr int64_t kAlignment = 16, kSumsBytes = sizeof(TileSums);
  const int64_t sums = (tiles_of(args.rows.vocab) * kSumsBytes + kAlignment - 1) / kAlignment;
  const int64_t bits = args.suppress_count > 0 ? tiles_per_slice * (kTile / 8) : 0;
  const int64_t after = sums * kAlignment + bits;
  const int64_t delegates = tiles_per_slice * kWarp * static_cast<int64_t>(sizeof(uint16_t));
  return {sums * kAlignment, after, after + delegates};
}

// The tiles of this block, of the row that its node reads.
template <class T, bool kSuppress>
__device__ __forceinline__ Slice<T, kSuppress> slice_of(const TopKConfidenceArgs& args,
                                                        const ConfidenceSplit& split, int64_t row,
                                                        unsigned char* bytes) {
  const SharedLayout layout = shared_layout(args, split.tiles_per_slice);
  const int tiles = static_cast<int>(tiles_of(args.rows.vocab));
  const int most = static_cast<int>(split.tiles_per_slice);
  const int first = static_cast<int>(blockIdx.y) * most;
  return {VocabularyRow<T>(row_at<T>(args.rows, blockIdx.x, row), args.rows.vocab),
          first,
          min(most, tiles - first),
          reinterpret_cast<TileSums*>(bytes),
          reinterpret_cast<uint16_t*>(bytes + layout.delegates),
          reinterpret_cast<uint32_t*>(bytes + layout.suppressed)};
}

template <class T, bool kSuppress>
__global__ void __launch_bounds__(kThreads, 2)
    topk_confidence_kernel(const TopKConfidenceArgs args, const ConfidenceSplit split) {
  UNMASK_DYNAMIC_SHARED(bytes);
  UNMASK_SHARED(shared, Scratch);

  const int64_t cell = blockIdx.x;
  const int64_t row = row_of(args.rows, position_of(args.rows, cell));
  if (row == kNoRow) {
    if (blockIdx.y == 0 && warp_id() == 0) write_nothing(args, cell);
    return;
  }

  const Slice<T, kSuppress> slice = slice_of<T, kSuppress>(args, split, row, bytes);
  if constexpr (kSuppress)
    mark_suppressed(slice.suppressed, slice.first, slice.count, args.suppress_tokens,
                    args.suppress_count);
  const float scale_log2 = in_bits(args.rows.logit_scale);
  sum_slice(slice, scale_log2);
  __syncthreads();
  if (split.keys) write_keys(slice, split.keys + cell * two_level::parts_of(args.rows.vocab));
  find_top(slice, static_cast<int>(args.k), shared.search);
  if (warp_id() == 0) {
    const TileSums without = sum_without(slice, shared.search.top[0], scale_log2);
    if (lane_id() == 0) shared.without = without;
  }
  if (split.slices > 1) {
    if (!leave(args, split, slice.first, slice.count, slice.sums, shared)) return;
    gather(args, split, slice.sums, shared);
  }

  if (warp_id() != 0) return;
  const uint64_t best = shared.search.top[0];
  if (best == kNoMerit) return write_nothing(args, cell);
  if (lane_id() == 0) slice.sums[token_of_merit(best) / kTile] = shared.without;
  __syncwarp();
  write_row(args, cell, shared.search.top, slice.sums);
}

template <class T>
Status start(const TopKConfidenceArgs& args, const ConfidenceSplit& split, Stream stream) {
  const int64_t cells = args.rows.batch * args.rows.nodes;
  LaunchShape shape{dim3(static_cast<unsigned>(cells), static_cast<unsigned>(split.slices)),
                    threads_for(split.tiles_per_slice * kWarp, kThreads)};
  shape.shared_bytes = static_cast<size_t>(shared_layout(args, split.tiles_per_slice).bytes);
  const auto kernel =
      args.suppress_count > 0 ? topk_confidence_kernel<T, true> : topk_confidence_kernel<T, false>;
  return launch("topk_confidence", kernel, shape, stream, args, split);
}

}  // namespace

int64_t topk_confidence_bytes_to_clear(const TopKConfidenceArgs& args) {
  return split_of(args).cleared_bytes;
}

Status topk_confidence_cleared(const TopKConfidenceArgs& args, Stream stream) {
  if (Status status = validate(args); !status.ok()) return status;
  if (args.rows.batch * args.rows.nodes == 0) return Status::success();
  const ConfidenceSplit split = split_of(args);
  if (split.bytes > 0 && args.workspace == nullptr)
    return Status::invalid_argument("topk_confidence needs its workspace");

  Status status = dispatch_floats(
      args.rows.logits_type, [&](auto type) { return start<decltype(type)>(args, split, stream); });
  if (!status.ok() || !(args.sampling.temperature > 0.0f)) return status;
  return draw_tokens(args, stream);
}

Status topk_confidence(const TopKConfidenceArgs& args, Stream stream) {
  if (Status status = validate(args); !status.ok()) return status;
  const int64_t bytes = topk_confidence_bytes_to_clear(args);
  if (bytes > 0 && args.workspace != nullptr)
    if (Status status = clear("topk_confidence", args.workspace, bytes, stream); !status.ok())
      return status;
  return topk_confidence_cleared(args, stream);
}

}  // namespace unmask::cuda
