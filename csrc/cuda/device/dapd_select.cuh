// DAPD's selection for one row, by one block: see unmask/dapd_select.h.
#pragma once

#include "core/schedule.h"
#include "cuda/device/independent_set.cuh"
#include "unmask/dapd_select.h"

namespace unmask::cuda {

// What the block shares.
struct DapdSelectScratch {
  IndependentSetScratch set;
  uint64_t per_warp[kMaxWarps];
};

__device__ __forceinline__ float priority_of(const DapdSelectArgs& args, int64_t cell) {
  switch (args.order) {
    case Order::kDegreeTimesConfidence: return args.degree[cell] * args.confidence[cell];
    case Order::kDegree: return args.degree[cell];
    case Order::kConfidence: break;
  }
  return args.confidence[cell];
}

// `bytes`: dynamic shared memory, see independent_set_shape. The row's `selected` is complete after
// the next barrier.
template <bool kResident>
__device__ void dapd_select_row(const DapdSelectArgs& args, int64_t row, unsigned char* bytes,
                                DapdSelectScratch& shared) {
  const int nodes = static_cast<int>(args.nodes);
  const int64_t first = row * nodes;
  const bool late =
      args.late != Late::kNone &&
      schedule::progress(args.remaining[row], args.gen_length[row]) >= args.late_progress;
  const bool replaced = late && args.late == Late::kSwitch;

  const auto key_of = [&](int node) {
    const int64_t cell = first + node;
    const bool scanned =
        !replaced && args.token[cell] >= 0 && !(args.confidence[cell] >= args.precommit);
    return scanned ? rank_key(priority_of(args, cell), static_cast<uint32_t>(node)) : kNobody;
  };
  take_independent_set<kResident>(args.conflict + first * words_for(nodes), nodes, bytes,
                                  shared.set, key_of);

  bool any = false;
  for (int i = threadIdx.x; i < nodes; i += blockDim.x) {
    const float confidence = args.confidence[first + i];
    const bool confident =
        (!replaced && confidence >= args.precommit) || (late && confidence >= args.late_threshold);
    const bool selected = has_bit(shared.set.taken, i) || (confident && args.token[first + i] >= 0);
    args.selected[first + i] = selected;
    any |= selected;
  }
  if (__syncthreads_or(any)) return;
  const int best =
      most_confident(args.confidence + first, args.token + first, nodes, shared.per_warp);
  if (threadIdx.x == 0 && best >= 0) args.selected[first + best] = true;
}

}  // namespace unmask::cuda
