#pragma once

#include <cstdint>

#include "unmask/executor.h"
#include "unmask/status.h"
#include "unmask/types.h"

namespace [[gnu::visibility("default")]] unmask {

// Rules that look at each node's own distribution. `limit` is the rule's one number.
enum class Rule : int8_t {
  kTop,        // the `limit` nodes of highest confidence
  kRandom,     // the `limit` nodes of highest noise
  kThreshold,  // confidence >= limit                                (Fast-dLLM)
  kFactor,     // longest prefix with (n + 1) * (1 - c_n) <= limit   (Fast-dLLM)
  kEntropy,    // longest prefix with sum H - max H <= limit         (EB-Sampler)
};

// Which nodes may be revealed now. Orders are descending (ascending entropy for kEntropy), ties to
// the lower node, NaN last. A node without a token is never selected; as long as one has a token
// and the rule selects nobody, the most confident of them is, eligible or not.
//
// Comparisons are float32, each operation rounded: `limit` is rounded to float32 first, kFactor's
// left side is float(n + 1) * (1 - c_n) for n = 2, 3, ... (n = 1 is always taken), kEntropy adds
// in its order. Noise is word 0 of Philox4x32-10 with the counter (kSelectionDomain, position,
// row, step) and the seed as key; without positions the node's own index stands for them.
struct SelectArgs {
  const float* confidence;   // [batch, nodes]
  const int64_t* token;      // [batch, nodes]  -1: padding, or nothing to commit
  const float* entropy;      // [batch, nodes]  nats; kEntropy only
  const bool* eligible;      // [batch, nodes]  who the rule may look at; null: everyone
  const int32_t* positions;  // [batch, nodes]  kRandom only; may be null
  bool* selected;            // [batch, nodes]  out
  Rule rule;
  double limit;                  // kTop, kRandom: a whole number >= 1
  int64_t seed;                  // the four below: kRandom only, as in Sampling
  const int64_t* request_seeds;  // [batch]
  int64_t step;
  const int64_t* device_step;  // [1]
  int64_t batch;
  int64_t nodes;
};

// First counter word of selection noise; sampling noise has the token there, far below it.
inline constexpr uint32_t kSelectionDomain = 0xffffffffu;

Status validate(const SelectArgs& args);

namespace cpu {
Status select(const SelectArgs& args, const Executor& executor = {});
}
namespace cuda {
Status select(const SelectArgs& args, Stream stream);
}

}  // namespace unmask
