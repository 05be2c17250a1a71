// Draws tokens by Gumbel-max over what top_k and top_p leave: the same tokens as cpu/sampling.cpp.
//
//   in   logits of each node; ids[.., 0] and probs[.., 0], its most probable token
//   out  token, confidence  [batch, nodes]  where the row has a finite maximum
//
// Every token has a score, its tempered logit plus the noise that its place in a Philox stream
// gives it; the highest wins. Scores are exact floats and a maximum has no order, so that nothing
// depends on who reads what.
//
//   1. draw: warps read tiles and raise `token` to the best (score, id) they have seen. As an
//      integer that lies above any id: the slot needs no preparation, and few rows can be spread
//      over several blocks each without scratch or waiting.
//   2. finish: from there back to an id, and its probability. A fused step does this in the
//      kernel that chooses among the draws (device/draw.cuh).
//
// The two-level sampler is another kernel, in two_level.cu.
//
// With top_k or top_p one block has the whole row and first finds what they keep
// (device/token_filter.cuh), mostly a short list in shared memory.
//
// Cost: one read of the row, about 16 integer instructions a token for noise where it is not far
// behind; with filters one read, part of another, and noise for the kept tokens only.
#include "cuda/sampling.h"

#include "cuda/device/draw.cuh"
#include "cuda/device/reduce.cuh"
#include "cuda/device/token_filter.cuh"
#include "cuda/device/vocabulary.cuh"
#include "cuda/dispatch.h"
#include "cuda/launch.h"

namespace unmask::cuda {
namespace {

constexpr int kDrawBlock = 256;    // threads
constexpr int kFilterBlock = 512;  // threads

// launch() counts on this, and the bits of suppressed tokens come on top.
static_assert(sizeof(FilterScratch) + sizeof(Entry[kMaxWarps]) <= 32 << 10);
static_assert(kMaxVocab / 8 <= kSharedBytes - (32 << 10));

struct Draw {
  TopKConfidenceArgs args;
  float factor;     // logit_scale / temperature
  int slice_tiles;  // of one block
};

// What is read of a row, by one block.
template <class T>
struct Slice {
  VocabularyRow<T> row;
  const uint32_t* suppressed;  // bits of its tiles, or null
  int first, last;             // tiles

  __device__ void load(int tile, TilePart<T>& part) const {
    load_part(row, tile, lane_id(), part);
    if (suppressed) remove_suppressed(suppressed, tile - first, lane_id(), part);
  }

  // visit(tile, part) for the tiles that pass the test, a warp each.
  template <class Test, class Visit>
  __device__ void for_each_tile(const Test& test, const Visit& visit) const {
    for (int tile = first + warp_id(); tile < last; tile += blockDim.x / kWarp) {
      if (!test(tile)) continue;
      TilePart<T> part;
      load(tile, part);
      visit(tile, part);
    }
  }
};

// All threads of the block call it, and a barrier has passed when bits are marked.
template <class T>
__device__ Slice<T> slice_of(const TopKConfidenceArgs& args, int64_t cell, int first, int tiles,
                             uint32_t* bits) {
  const int last = min(first + tiles, static_cast<int>(tiles_of(args.rows.vocab)));
  const bool any = args.suppress_count > 0;
  if (any) mark_suppressed(bits, first, tiles, args.suppress_tokens, args.suppress_count);
  return {VocabularyRow<T>(row_of_cell<T>(args, cell), args.rows.vocab), any ? bits : nullptr,
          first, last};
}

// The contest among what `cut` keeps, with the most probable token in it from the start: a high
// score spares the others most of their work.
__device__ Contest contest_of(const Draw& draw, const Node& node, uint64_t cut) {
  Contest contest(stream_of(draw.args, node.cell), draw.factor, cut);
  contest.enter(node.winner, node.max);
  return contest;
}

// `per_warp` is kMaxWarps of shared memory.
__device__ void publish(const Draw& draw, const Node& node, const Contest& contest,
                        Entry* per_warp) {
  const Entry best = block_max(contest.best(), per_warp);
  if (threadIdx.x == 0) atomicMax(reinterpret_cast<Entry*>(draw.args.token + node.cell), best);
}

template <class T>
__global__ void __launch_bounds__(kDrawBlock, 2) draw_kernel(const Draw draw) {
  UNMASK_DYNAMIC_SHARED(bytes);
  UNMASK_SHARED(per_warp, Entry[kMaxWarps]);
  const Node node = node_of<T>(draw.args, blockIdx.x);
  if (node.winner < 0) return;

  const int first = static_cast<int>(blockIdx.y) * draw.slice_tiles;
  const Slice<T> slice = slice_of<T>(draw.args, node.cell, first, draw.slice_tiles,
                                     reinterpret_cast<uint32_t*>(bytes));
  Contest contest = contest_of(draw, node, kUncut);
  slice.for_each_tile([](int) { return true; },
                      [&](int tile, const TilePart<T>& part) { contest.enter(part, tile); });
  publish(draw, node, contest, per_warp);
}

// ---- top_k and top_p ----------------------------------------------------------------------------

template <class T>
__global__ void __launch_bounds__(kFilterBlock, 1) draw_filtered_kernel(const Draw draw) {
  UNMASK_DYNAMIC_SHARED(bytes);
  UNMASK_SHARED(per_warp, Entry[kMaxWarps]);
  UNMASK_SHARED(shared, FilterScratch);
  const Node node = node_of<T>(draw.args, blockIdx.x);
  if (node.winner < 0) return;

  const Slice<T> row =
      slice_of<T>(draw.args, node.cell, 0, draw.slice_tiles, reinterpret_cast<uint32_t*>(bytes));
  const TokenFilter<Slice<T>> filter{row, shared};
  const Mass mass(node.max, draw.factor);
  const uint64_t cut = filter.cut(draw.args.sampling, mass);
  Contest contest = contest_of(draw, node, cut);
  if (shared.count <= kMostListed) {
    for (uint32_t i = threadIdx.x; i < shared.count; i += blockDim.x) {
      const uint64_t rank = shared.listed[i];
      contest.enter(static_cast<int>(rank), value_of_key(lowest_key(rank)));
    }
  } else {
    row.for_each_tile([&](int tile) { return shared.best[tile] >= lowest_key(cut); },
                      [&](int tile, const TilePart<T>& part) { contest.enter(part, tile); });
  }
  publish(draw, node, contest, per_warp);
}

// ---- both ---------------------------------------------------------------------------------------

// One thread per node.
template <class T>
__global__ void __launch_bounds__(kDrawBlock) finish_kernel(const TopKConfidenceArgs args) {
  const int64_t cell = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (cell >= args.rows.batch * args.rows.nodes) return;
  finish_draw<T>(args, cell);
}

// Tiles of one block: few rows are split, so that they fill a GPU too.
int64_t slice_tiles_for(int64_t rows, int64_t tiles) {
  constexpr int64_t kWantedBlocks = 512, kLeastTiles = kDrawBlock / kWarp;
  const int64_t slices = std::max<int64_t>(kWantedBlocks / rows, 1);
  return std::min(tiles, std::max((tiles + slices - 1) / slices, kLeastTiles));
}

template <class T>
Status start_draw(const TopKConfidenceArgs& args, Stream stream) {
  const int64_t cells = args.rows.batch * args.rows.nodes, tiles = tiles_of(args.rows.vocab);
  const bool filtered = args.sampling.top_k > 0 || args.sampling.top_p < 1.0;
  const int64_t slice = filtered ? tiles : slice_tiles_for(cells, tiles);
  const auto slices = static_cast<unsigned>((tiles + slice - 1) / slice);
  LaunchShape shape{dim3(static_cast<unsigned>(cells), slices),
                    threads_for(slice * kWarp, filtered ? kFilterBlock : kDrawBlock)};
  if (args.suppress_count > 0) shape.shared_bytes = static_cast<size_t>(slice * (kTile / 8));
  const Draw draw{args, inverse_temperature(args.rows.logit_scale, args.sampling.temperature),
                  static_cast<int>(slice)};
  const auto kernel = filtered ? draw_filtered_kernel<T> : draw_kernel<T>;
  return launch("draw_tokens", kernel, shape, stream, draw);
}

template <class T>
Status finish(const TopKConfidenceArgs& args, Stream stream) {
  const int64_t cells = args.rows.batch * args.rows.nodes;
  const LaunchShape by_node{static_cast<unsigned>((cells + kDrawBlock - 1) / kDrawBlock),
                            threads_for(cells, kDrawBlock)};
  return launch("draw_tokens", finish_kernel<T>, by_node, stream, args);
}

}  // namespace

Status draw_unfinished(const TopKConfidenceArgs& args, Stream stream) {
  if (args.rows.batch * args.rows.nodes == 0) return Status::success();
  if (args.sampling.sampler == Sampler::kTwoLevel) return draw_in_two_levels(args, stream);
  return dispatch_floats(args.rows.logits_type,
                         [&](auto zero) { return start_draw<decltype(zero)>(args, stream); });
}

Status draw_tokens(const TopKConfidenceArgs& args, Stream stream) {
  if (args.rows.batch * args.rows.nodes == 0) return Status::success();
  Status status = draw_unfinished(args, stream);
  if (!status.ok() || !needs_finish(args.sampling)) return status;
  return dispatch_floats(args.rows.logits_type,
                         [&](auto zero) { return finish<decltype(zero)>(args, stream); });
}

}  // namespace unmask::cuda
