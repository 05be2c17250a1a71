// How far each node's distribution moved since the previous pass: one block per node.
//
//   in   logits, previous  [batch, rows, vocab]   in   positions  [batch, nodes] or null
//   out  divergence        [batch, nodes]         sum of p (log p - log q)
//
// A warp reads a tile of both rows once, and sums relative to the tile's own two largest logits:
//
//   sum_now = sum of p_v,  p_v = exp(scale * (x_v - max_now));  sum_before likewise with y_v
//   moved   = sum of p_v * ((x_v - max_now) - (y_v - max_before))
//
// These five numbers per tile lie in shared memory. Once all are there, the tiles are brought to
// the largest logits of the whole rows and added up in double. Rows with +inf, where one token has
// all the probability, are read a second time.
//
// Cost: both rows read once; two exponentials and about twenty other instructions per token; no
// atomics, no global scratch. The sums depend on the vocabulary alone: no bit changes with the
// batch or the alignment.
#include "unmask/kl_divergence.h"

#include <cmath>

#include "cuda/device/logit_rows.cuh"
#include "cuda/device/reduce.cuh"
#include "cuda/device/vocabulary.cuh"
#include "cuda/dispatch.h"
#include "cuda/launch.h"

namespace unmask::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kNoToken = 0x7fffffff;
constexpr float kSmaller = 0x1p-12f;  // logits near the end of float32's range sum to infinity

struct TileSums {
  float max_now, sum_now;
  float max_before, sum_before;
  float moved;  // times kSmaller
};

// What the warps hand to each other.
struct Scratch {
  float max_now[kMaxWarps], max_before[kMaxWarps];
  double sum_now[kMaxWarps], sum_before[kMaxWarps], moved[kMaxWarps];
  int token_now[kMaxWarps], token_before[kMaxWarps];
};

// The same in every thread.
struct RowSums {
  float max_now, max_before;
  double sum_now, sum_before, moved;
};

__device__ __forceinline__ float infinity() { return -never(); }
__device__ __forceinline__ bool possible(float logit) { return logit > never(); }

// One warp, one tile; `sums` is written by lane 0. Returns whether this lane saw a token that is
// possible now and was impossible before.
template <class T>
__device__ bool compare_tile(const VocabularyRow<T>& now, const VocabularyRow<T>& before, int tile,
                             float scale_log2, TileSums& sums) {
  TilePart<T> x, y;
  load_part(now, tile, lane_id(), x);
  load_part(before, tile, lane_id(), y);
  const float max_now = warp_largest(largest(x)), max_before = warp_largest(largest(y));
  const float from_now = possible(max_now) ? max_now : 0.0f;
  const float from_before = possible(max_before) ? max_before : 0.0f;

  float sum_now = 0.0f, sum_before = 0.0f, moved = 0.0f;
  bool unbounded = false;
#pragma unroll
  for (int i = 0; i < kPart; ++i) {
    // Subtract first: x * scale - max * scale would lose what large logits have in common.
    const float behind_now = x.logit(i) - from_now, behind_before = y.logit(i) - from_before;
    const float p = fast_exp2(behind_now * scale_log2);
    const float q = fast_exp2(behind_before * scale_log2);
    sum_now += p;
    sum_before += q;
    const float change = (behind_now - behind_before) * kSmaller;
    if (p > 0.0f) moved = __fmaf_rn(p, change, moved);
    unbounded = unbounded || (possible(x.logit(i)) && !possible(y.logit(i)));
  }
  sum_now = warp_sum(sum_now);
  sum_before = warp_sum(sum_before);
  moved = warp_sum(moved);
  if (lane_id() == 0) sums = {max_now, sum_now, max_before, sum_before, moved};
  return unbounded;
}

// The tiles of both rows as one. Valid in every thread.
__device__ RowSums add_tiles(const TileSums* tile_sums, int tiles, double scale, Scratch& shared) {
  float max_now = never(), max_before = never();
  for (int tile = threadIdx.x; tile < tiles; tile += blockDim.x) {
    max_now = max(max_now, tile_sums[tile].max_now);
    max_before = max(max_before, tile_sums[tile].max_before);
  }
  RowSums row{};
  row.max_now = block_max(max_now, shared.max_now);
  row.max_before = block_max(max_before, shared.max_before);

  for (int tile = threadIdx.x; tile < tiles; tile += blockDim.x) {
    const TileSums& sums = tile_sums[tile];
    const double behind_now = scale * (double{sums.max_now} - row.max_now);
    const double behind_before = scale * (double{sums.max_before} - row.max_before);
    row.sum_before += exp(behind_before) * sums.sum_before;
    if (!(sums.sum_now > 0.0f)) continue;
    const double weight = exp(behind_now);
    row.sum_now += weight * sums.sum_now;
    row.moved += weight * (scale * (double{sums.moved} / kSmaller) +
                           sums.sum_now * (behind_now - behind_before));
  }
  row.sum_now = block_sum(row.sum_now, shared.sum_now);
  row.sum_before = block_sum(row.sum_before, shared.sum_before);
  row.moved = block_sum(row.moved, shared.moved);
  return row;
}

// The first +inf of a row, or kNoToken. Valid in every thread.
template <class T>
__device__ int certain_token(const VocabularyRow<T>& row, int* per_warp) {
  int first = kNoToken;
  for (int token = threadIdx.x; token < row.vocab && first == kNoToken; token += blockDim.x)
    if (to_float(row.logits[token]) == infinity()) first = token;
  return block_reduce(first, per_warp, [](int a, int b) { return min(a, b); });
}

template <class T>
__device__ bool only_possible(const VocabularyRow<T>& row, int token) {
  bool another = false;
  for (int v = threadIdx.x; v < row.vocab; v += blockDim.x)
    another = another || (v != token && possible(to_float(row.logits[v])));
  return !__syncthreads_or(another);
}

// When a row has a +inf: its first one has all the probability.
template <class T>
__device__ float with_infinities(const VocabularyRow<T>& now, const VocabularyRow<T>& before,
                                 const RowSums& row, double scale, Scratch& shared) {
  const int then = certain_token(before, shared.token_before);
  const int token = certain_token(now, shared.token_now);
  if (then != kNoToken) {
    const bool same = then == token || (token == kNoToken && only_possible(now, then));
    return same ? 0.0f : infinity();
  }
  const float y = to_float(before.logits[token]);
  if (!possible(y)) return infinity();
  return static_cast<float>(scale * (double{row.max_before} - y) + log(row.sum_before));
}

// Valid in every thread.
template <class T>
__device__ float divergence_of(const VocabularyRow<T>& now, const VocabularyRow<T>& before,
                               float scale, TileSums* tile_sums, Scratch& shared) {
  const int tiles = static_cast<int>(tiles_of(now.vocab));
  bool unbounded = false;
  for (int tile = warp_id(); tile < tiles; tile += static_cast<int>(blockDim.x) / kWarp)
    unbounded |= compare_tile(now, before, tile, in_bits(scale), tile_sums[tile]);
  unbounded = __syncthreads_or(unbounded);

  const RowSums row = add_tiles(tile_sums, tiles, scale, shared);
  if (!possible(row.max_now) || !possible(row.max_before)) return infinity();
  if (row.max_now == infinity() || row.max_before == infinity())
    return with_infinities(now, before, row, scale, shared);
  if (unbounded) return infinity();
  const double divergence = row.moved / row.sum_now - log(row.sum_now / row.sum_before);
  return static_cast<float>(max(divergence, 0.0));
}

template <class T>
__global__ void __launch_bounds__(kThreads) kl_divergence_kernel(const KlDivergenceArgs args) {
  UNMASK_DYNAMIC_SHARED(bytes);
  UNMASK_SHARED(shared, Scratch);

  const int64_t cell = blockIdx.x;
  const int64_t row = row_of(args.rows, position_of(args.rows, cell));
  LogitRows previous = args.rows;
  previous.logits = args.previous;
  previous.batch_stride = args.previous_batch_stride;
  previous.row_stride = args.previous_row_stride;

  float divergence = 0.0f;
  if (row != kNoRow) {
    const VocabularyRow<T> now(row_at<T>(args.rows, cell, row), args.rows.vocab);
    const VocabularyRow<T> before(row_at<T>(previous, cell, row), args.rows.vocab);
    divergence = divergence_of(now, before, args.rows.logit_scale,
                               reinterpret_cast<TileSums*>(bytes), shared);
  }
  if (threadIdx.x == 0) args.divergence[cell] = divergence;
}

}  // namespace

Status kl_divergence(const KlDivergenceArgs& args, Stream stream) {
  if (Status status = validate(args); !status.ok()) return status;
  const int64_t cells = args.rows.batch * args.rows.nodes;
  if (cells == 0) return Status::success();

  const int64_t tiles = tiles_of(args.rows.vocab);
  LaunchShape shape{static_cast<unsigned>(cells), threads_for(tiles * kWarp, kThreads)};
  shape.shared_bytes = static_cast<size_t>(tiles) * sizeof(TileSums);
  return dispatch_floats(args.rows.logits_type, [&](auto logit) {
    return launch("kl_divergence", kl_divergence_kernel<decltype(logit)>, shape, stream, args);
  });
}

}  // namespace unmask::cuda
