// Draws tokens by the two-level sampler: the same tokens as cpu/two_level.cpp, reading few of them.
//
//   in   logits of each node; ids[.., 0] and probs[.., 0], its most probable token; the short keys
//        of the row's parts, which topk_confidence left in the workspace
//   out  token, confidence  [batch, nodes]  where the row has a finite maximum
//
// core/two_level.h says how and why. A block has a row, and its slots in shared memory. In a round
// each of 8 warps makes one attempt: whoever owns the slots around its point says which part that
// is, the warp reads the part, and the lowest number that was accepted wins.
//
// Cost: 2 bytes for every 64 tokens, and per round 8 parts of 128 or 256 bytes. A row takes three or
// four rounds one after the other, seldom more than ten; one whose logits differ by less than their
// upper 16 bits tell may be read as a whole.
#include "core/two_level.h"

#include "core/confidence_split.h"
#include "cuda/device/draw.cuh"
#include "cuda/device/reduce.cuh"
#include "cuda/device/vocabulary.cuh"
#include "cuda/dispatch.h"
#include "cuda/launch.h"
#include "cuda/sampling.h"

namespace unmask::cuda {
namespace {

constexpr int kWarps = two_level::kAttemptsPerRound;
constexpr int kThreads = kWarps * kWarp;
constexpr int kPerLane = 2;  // tokens of a part

static_assert(kPerLane * kWarp == two_level::kPartTokens);
static_assert(kMaxVocab / two_level::kPartTokens * sizeof(uint64_t) <= kSharedBytes - 1024);

struct TwoLevelDraw {
  TopKConfidenceArgs args;
  const uint16_t* keys;  // [cells, parts]
  float factor;          // logit_scale / temperature
};

struct Attempt {
  int part;
  uint64_t offset;  // of its point in the part's slot
  uint64_t mass;    // of the part
  int token;        // -1: rejected
};

struct Scratch {
  uint64_t per_warp[kWarps];
  Attempt attempts[kWarps];
};

// The sum of the lanes up to this one.
__device__ __forceinline__ uint64_t running_sum(uint64_t mine) {
  for (int distance = 1; distance < kWarp; distance *= 2) {
    const uint64_t other = __shfl_up_sync(kWholeWarp, mine, distance);
    if (lane_id() >= distance) mine += other;
  }
  return mine;
}

// The slots of one row; each thread owns as many neighbours as any other.
struct Slots {
  uint64_t* slot;
  int first, last;  // ours

  __device__ Slots(uint64_t* slot, int count) : slot(slot) {
    const int share = (count + kThreads - 1) / kThreads;
    first = min(static_cast<int>(threadIdx.x) * share, count);
    last = min(first + share, count);
  }

  // Where the points of this round lie. The whole block calls it; ends with a barrier.
  __device__ void locate(const NoiseStream& stream, uint32_t attempt, Scratch& shared) const {
    uint64_t mine = 0;
    for (int part = first; part < last; ++part) mine += slot[part];
    uint64_t end = running_sum(mine), total = 0;
    if (lane_id() == kWarp - 1) shared.per_warp[warp_id()] = end;
    __syncthreads();
    for (int warp = 0; warp < kWarps; ++warp) {
      if (warp == warp_id()) end += total;
      total += shared.per_warp[warp];
    }
    const uint32_t number = attempt + static_cast<uint32_t>(lane_id() % kWarps);
    const uint64_t points = two_level::point_of(stream, number, total);
    for (int i = 0; i < kWarps; ++i) {
      uint64_t offset = __shfl_sync(kWholeWarp, points, i);
      if (offset >= end || end - offset > mine) continue;
      offset -= end - mine;
      int part = first;
      while (offset >= slot[part]) offset -= slot[part++];
      shared.attempts[i].part = part;
      shared.attempts[i].offset = offset;
    }
    __syncthreads();
  }
};

// Bit i: token i of the part is suppressed. Ids outside the vocabulary are nobody's.
__device__ __forceinline__ uint64_t suppressed_bits(const TopKConfidenceArgs& args, int part) {
  uint32_t low = 0, high = 0;
  for (int64_t i = lane_id(); i < args.suppress_count; i += kWarp) {
    const int64_t token = args.suppress_tokens[i];
    if (token < 0 || token >= args.rows.vocab || two_level::part_of(token) != part) continue;
    const int place = two_level::place_of(token);
    (place < 32 ? low : high) |= 1u << place % 32;
  }
  low = __reduce_or_sync(kWholeWarp, low);
  high = __reduce_or_sync(kWholeWarp, high);
  return static_cast<uint64_t>(high) << 32 | low;
}

// Reads the part of an attempt and judges it. The whole warp calls it.
template <class T>
__device__ __forceinline__ void resolve(const TopKConfidenceArgs& args, const T* row,
                                        const TokenMass& mass, Attempt& attempt) {
  const int part = attempt.part;
  const uint64_t offset = attempt.offset;
  const uint64_t never_drawn = args.suppress_count > 0 ? suppressed_bits(args, part) : 0;
  uint64_t masses[kPerLane], mine = 0;
#pragma unroll
  for (int i = 0; i < kPerLane; ++i) {
    const int place = lane_id() * kPerLane + i;
    const int64_t token = two_level::token_of(part, place);
    const bool usable = token < args.rows.vocab && (never_drawn >> place & 1u) == 0;
    masses[i] = usable ? mass.of(max(to_float(row[token]), never())) : 0;
    mine += masses[i];
  }
  const uint64_t end = running_sum(mine);
  const uint64_t whole = __shfl_sync(kWholeWarp, end, kWarp - 1);
  if (lane_id() == 0) {
    attempt.mass = whole;
    if (offset >= whole) attempt.token = -1;
  }
  if (offset >= end || end - offset > mine) return;
  const bool first = offset < end - mine + masses[0];
  attempt.token =
      static_cast<int>(two_level::token_of(part, lane_id() * kPerLane + (first ? 0 : 1)));
}

template <class T>
__global__ void __launch_bounds__(kThreads) two_level_kernel(const TwoLevelDraw draw) {
  UNMASK_DYNAMIC_SHARED(bytes);
  UNMASK_SHARED(shared, Scratch);
  const TopKConfidenceArgs& args = draw.args;
  const Node node = node_of<T>(args, blockIdx.x);
  if (node.winner < 0) return;

  const int parts = static_cast<int>(two_level::parts_of(args.rows.vocab));
  const TokenMass mass(node.max, draw.factor);
  const Slots slots(reinterpret_cast<uint64_t*>(bytes), parts);
  const uint16_t* keys = draw.keys + node.cell * parts;
  for (int part = threadIdx.x; part < parts; part += kThreads)
    slots.slot[part] = two_level::first_slot(keys[part], mass);
  __syncthreads();

  const T* row = row_of_cell<T>(args, node.cell);
  const NoiseStream stream = stream_of(args, node.cell);
  for (uint32_t attempt = 0;; attempt += kWarps) {
    slots.locate(stream, attempt, shared);
    resolve(args, row, mass, shared.attempts[warp_id()]);
    __syncthreads();
    for (int i = 0; i < kWarps; ++i) {
      const int token = shared.attempts[i].token;
      if (token < 0) continue;
      if (threadIdx.x == 0) write_draw<T>(args, node.cell, node.winner, token);
      return;
    }
    if (threadIdx.x == 0)
      for (const Attempt& one : shared.attempts) slots.slot[one.part] = one.mass;
    __syncthreads();
  }
}

}  // namespace

Status draw_in_two_levels(const TopKConfidenceArgs& args, Stream stream) {
  const ConfidenceSplit split = split_of(args);
  LaunchShape shape{static_cast<unsigned>(args.rows.batch * args.rows.nodes), kThreads};
  shape.shared_bytes = static_cast<size_t>(two_level::parts_of(args.rows.vocab)) * sizeof(uint64_t);
  const TwoLevelDraw draw{args, split.keys,
                          inverse_temperature(args.rows.logit_scale, args.sampling.temperature)};
  return dispatch_floats(args.rows.logits_type, [&](auto zero) {
    return launch("two_level", two_level_kernel<decltype(zero)>, shape, stream, draw);
  });
}

}  // namespace unmask::cuda
