#pragma once

#include "unmask/topk_confidence.h"

namespace unmask {

// How far each node's distribution moved since the previous forward pass.
struct KlDivergenceArgs {
  LogitRows rows;        // this pass
  const void* previous;  // the pass before: same type, shape and strides as rows.logits
  float* divergence;     // [batch, nodes]  out: KL(this || previous) in nats; 0 for padding
};

Status validate(const KlDivergenceArgs& args);

namespace cpu {
Status kl_divergence(const KlDivergenceArgs& args, const Executor& executor = {});
}
namespace cuda {
Status kl_divergence(const KlDivergenceArgs& args, Stream stream);
}

}  // namespace unmask
