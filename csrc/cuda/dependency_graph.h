// The second half of dependency_graph, for those who have brought the first one about.
#pragma once

#include "unmask/dependency_graph.h"

namespace unmask::cuda {

// With `normalize`, `row_sum` holds what each row is divided by (device/row_sums.cuh). One launch.
Status dependency_graph_summed(const DependencyGraphArgs& args, Stream stream);

}  // namespace unmask::cuda
