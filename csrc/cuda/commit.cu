// Write the chosen tokens into the sequence: one block per row.
//
//   in out  tokens     [batch, length]
//   out     committed  [batch]  how many were written
//
// A position outside [0, length) is padding and never dereferenced, and a token that the sequence's
// type cannot hold is not written: nothing on the device can complain about them. Positions of a
// row are distinct, so that no two threads write the same token.
//
// Cost: one byte per node; 12 bytes more and one scattered write per selected node.
#include "unmask/commit.h"

#include "cuda/device/commit.cuh"
#include "cuda/dispatch.h"
#include "cuda/launch.h"

namespace unmask::cuda {
namespace {

template <class Token>
__global__ void __launch_bounds__(kMaxBlock) commit_kernel(const CommitArgs args) {
  const int committed = commit_row<Token>(args, blockIdx.x);
  if (threadIdx.x == 0) args.committed[blockIdx.x] = committed;
}

}  // namespace

Status commit(const CommitArgs& args, Stream stream) {
  if (Status status = validate(args); !status.ok()) return status;
  if (args.batch == 0) return Status::success();

  return dispatch_tokens(args.token_type, [&](auto token) {
    const LaunchShape shape{static_cast<unsigned>(args.batch), threads_for(args.nodes)};
    return launch("commit", commit_kernel<decltype(token)>, shape, stream, args);
  });
}

}  // namespace unmask::cuda
