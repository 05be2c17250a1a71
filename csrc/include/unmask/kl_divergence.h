#pragma once

#include "unmask/topk_confidence.h"

namespace [[gnu::visibility("default")]] unmask {

// How far each node's distribution moved since the previous forward pass.
struct KlDivergenceArgs {
  LogitRows rows;                 // this pass
  const void* previous;           // the pass before: same type and shape as rows.logits
  int64_t previous_batch_stride;  // in elements
  int64_t previous_row_stride;    // in elements
  float* divergence;  // [batch, nodes]  out: KL(this || previous) in nats; 0 for padding, +inf
                      // without a usable logit or where something possible was impossible
};

Status validate(const KlDivergenceArgs& args);

namespace cpu {
Status kl_divergence(const KlDivergenceArgs& args, const Executor& executor = {});
}
namespace cuda {
Status kl_divergence(const KlDivergenceArgs& args, Stream stream);
}

}  // namespace unmask
