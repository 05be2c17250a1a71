#include "unmask/dependency_graph.h"

namespace unmask::cuda {

Status dependency_graph(const DependencyGraphArgs&, Stream) {
  return Status::unsupported("dependency_graph has no CUDA kernel yet: pass CPU tensors");
}

}  // namespace unmask::cuda
