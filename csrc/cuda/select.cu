// Which nodes may be revealed: one block per row, see device/select.cuh.
//
//   in   confidence, token [batch, nodes]; entropy, eligible, positions [batch, nodes] or null
//   out  selected  [batch, nodes]
//
// Cost: one read of what the rule looks at; for all rules but 'threshold' a sort in shared memory.
#include "cuda/device/select.cuh"

#include "cuda/launch.h"

namespace unmask::cuda {
namespace {

__global__ void __launch_bounds__(kMaxBlock) select_kernel(const SelectArgs args) {
  UNMASK_DYNAMIC_SHARED(bytes);
  UNMASK_SHARED(shared, SelectScratch);
  select_row(args, blockIdx.x, reinterpret_cast<uint64_t*>(bytes), shared);
}

}  // namespace

Status select(const SelectArgs& args, Stream stream) {
  if (Status status = validate(args); !status.ok()) return status;
  if (args.batch == 0 || args.nodes == 0) return Status::success();

  const LaunchShape shape{static_cast<unsigned>(args.batch), threads_for(args.nodes),
                          select_shared_bytes(args)};
  return launch("select", select_kernel, shape, stream, args);
}

}  // namespace unmask::cuda
