// Greedy independent sets: one block per graph, see device/independent_set.cuh.
//
//   in   conflict  [batch, nodes, words]  bit j of row i: j, once taken, excludes i
//   in   priority  [batch, nodes], eligible [batch, nodes] or null
//   out  selected  [batch, nodes]
#include "unmask/independent_set.h"

#include "cuda/device/independent_set.cuh"
#include "cuda/launch.h"

namespace unmask::cuda {
namespace {

template <bool kResident>
__global__ void __launch_bounds__(kMaxBlock) independent_set_kernel(const IndependentSetArgs args) {
  UNMASK_DYNAMIC_SHARED(bytes);
  UNMASK_SHARED(shared, IndependentSetScratch);

  const int nodes = static_cast<int>(args.nodes);
  const int64_t first = int64_t{blockIdx.x} * nodes;  // the graph's first node
  const auto key_of = [&](int node) {
    const bool in = args.eligible == nullptr || args.eligible[first + node];
    return in ? rank_key(args.priority[first + node], static_cast<uint32_t>(node)) : kNobody;
  };
  take_independent_set<kResident>(args.conflict + first * words_for(nodes), nodes, bytes, shared,
                                  key_of);
  for (int i = threadIdx.x; i < nodes; i += blockDim.x)
    args.selected[first + i] = has_bit(shared.taken, i);
}

}  // namespace

Status independent_set(const IndependentSetArgs& args, Stream stream) {
  if (Status status = validate(args); !status.ok()) return status;
  if (args.batch == 0 || args.nodes == 0) return Status::success();

  const IndependentSetShape memory =
      independent_set_shape(args.nodes, sizeof(IndependentSetScratch));
  const LaunchShape shape{static_cast<unsigned>(args.batch), threads_for(args.nodes), memory.bytes};
  const auto kernel =
      memory.resident ? independent_set_kernel<true> : independent_set_kernel<false>;
  return launch("independent_set", kernel, shape, stream, args);
}

}  // namespace unmask::cuda
