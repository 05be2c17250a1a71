// Masked positions of each row: one block per row.
//
//   in   tokens     [batch, length]
//   out  positions  [batch, capacity]  ascending, padded with -1
//
// The block walks the row one token per thread at a time; ballots and a scan over the warps give
// every mask its slot, so that the order is ascending and nothing is atomic.
//
// Cost: one read of the row up to the last slot filled, capacity * 4 bytes written.
#include "unmask/masked_positions.h"

#include "cuda/device/reduce.cuh"
#include "cuda/dispatch.h"
#include "cuda/launch.h"

namespace unmask::cuda {
namespace {

__device__ __forceinline__ int64_t bound(const int64_t* bounds, int64_t row, int64_t otherwise,
                                         int64_t length) {
  if (bounds == nullptr) return otherwise;
  const int64_t value = bounds[row];
  return value < 0 ? 0 : (value > length ? length : value);
}

template <class Token>
__global__ void __launch_bounds__(kMaxBlock)
    masked_positions_kernel(const MaskedPositionsArgs args) {
  // Two sets, used in turn: a fast warp may count the next tokens while a slow one still adds.
  UNMASK_SHARED(per_warp, int[2][kMaxWarps]);

  const int64_t row = blockIdx.x;
  const auto* tokens = static_cast<const Token*>(args.tokens) + row * args.token_stride;
  int32_t* positions = args.positions + row * args.capacity;
  const int64_t begin = bound(args.row_start, row, args.start, args.length);
  const int64_t end = bound(args.row_stop, row, args.stop, args.length);

  int64_t found = 0;
  int turn = 0;
  for (int64_t first = begin; first < end && found < args.capacity; first += blockDim.x) {
    const int64_t position = first + threadIdx.x;
    const bool masked = position < end && static_cast<int64_t>(tokens[position]) == args.mask_id;
    const Standing standing = block_standing(masked, per_warp[turn]);
    const int64_t slot = found + standing.before;
    if (masked && slot < args.capacity) positions[slot] = static_cast<int32_t>(position);
    found += standing.total;
    turn ^= 1;
  }
  for (int64_t slot = found + threadIdx.x; slot < args.capacity; slot += blockDim.x)
    positions[slot] = -1;
}

}  // namespace

Status masked_positions(const MaskedPositionsArgs& args, Stream stream) {
  if (Status status = validate(args); !status.ok()) return status;
  if (args.batch == 0 || args.capacity == 0) return Status::success();

  return dispatch_tokens(args.token_type, [&](auto token) {
    const LaunchShape shape{static_cast<unsigned>(args.batch), threads_for(args.length)};
    return launch("masked_positions", masked_positions_kernel<decltype(token)>, shape, stream,
                  args);
  });
}

}  // namespace unmask::cuda
