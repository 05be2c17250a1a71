// DAPD's selection: one block per row ranks the nodes, takes the independent set, adds who is
// confident enough, and falls back to the most confident node.
//
//   in   confidence, token, degree [batch, nodes], conflict [batch, nodes, words]
//   in   remaining, gen_length [batch]
//   out  selected  [batch, nodes]
//
// Cost: that of device/independent_set.cuh, and two more passes over confidences and tokens.
// `priority` and `eligible` are not used: keys live in shared memory.
#include "cuda/device/dapd_select.cuh"

#include "cuda/launch.h"

namespace unmask::cuda {
namespace {

// The 1: otherwise ptxas may spill to make room for a second block.
template <bool kResident>
__global__ void __launch_bounds__(kMaxBlock, 1) dapd_select_kernel(const DapdSelectArgs args) {
  UNMASK_DYNAMIC_SHARED(bytes);
  UNMASK_SHARED(shared, DapdSelectScratch);
  dapd_select_row<kResident>(args, blockIdx.x, bytes, shared);
}

}  // namespace

Status dapd_select(const DapdSelectArgs& args, Stream stream) {
  if (Status status = validate(args); !status.ok()) return status;
  if (args.batch == 0 || args.nodes == 0) return Status::success();

  const IndependentSetShape memory = independent_set_shape(args.nodes, sizeof(DapdSelectScratch));
  const LaunchShape shape{static_cast<unsigned>(args.batch), threads_for(args.nodes), memory.bytes};
  const auto kernel = memory.resident ? dapd_select_kernel<true> : dapd_select_kernel<false>;
  return launch("dapd_select", kernel, shape, stream, args);
}

}  // namespace unmask::cuda
