#pragma once

#include <cstdint>

#include "unmask/executor.h"
#include "unmask/status.h"
#include "unmask/types.h"

namespace [[gnu::visibility("default")]] unmask {

// A batch of small directed conflict graphs.
struct IndependentSetArgs {
  const int32_t* conflict;  // [batch, nodes, words]  bit j of row i: j, once taken, excludes i
  const float* priority;    // [batch, nodes]         higher is visited first, NaN last
  const bool* eligible;     // [batch, nodes]         who may be taken; null: everyone
  bool* selected;           // [batch, nodes]         out
  int64_t batch;
  int64_t nodes;  // <= kMaxNodes; words = words_for(nodes)
};

Status validate(const IndependentSetArgs& args);

// Visit the eligible nodes of each graph in descending priority, ties to the lower index, and take
// a node unless its row has the bit of one already taken. Both backends return the same set.
namespace cpu {
Status independent_set(const IndependentSetArgs& args, const Executor& executor = {});
}
namespace cuda {
Status independent_set(const IndependentSetArgs& args, Stream stream);
}

}  // namespace unmask
