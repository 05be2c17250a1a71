#pragma once

#include <cstdint>

#include "unmask/executor.h"
#include "unmask/status.h"
#include "unmask/types.h"

namespace unmask {

// Rules that look at each node's own distribution. `limit` is the rule's one number.
enum class Rule : int8_t {
  kTop,        // the `limit` nodes of highest confidence
  kRandom,     // `limit` nodes at random, by counter-based noise
  kThreshold,  // confidence >= limit                                (Fast-dLLM)
  kFactor,     // longest prefix with (n + 1) * (1 - c_n) <= limit   (Fast-dLLM)
  kEntropy,    // longest prefix with sum H - max H <= limit         (EB-Sampler)
};

// Which nodes may be revealed now. Orders are descending confidence (ascending entropy for
// kEntropy), ties to the lower node. A node without a token is never selected; as long as one has
// a token, at least the most confident of them is.
struct SelectArgs {
  const float* confidence;   // [batch, nodes]
  const int64_t* token;      // [batch, nodes]  -1: padding, or nothing to commit
  const float* entropy;      // [batch, nodes]  nats; kEntropy only
  const bool* eligible;      // [batch, nodes]  who the rule may look at; null: everyone
  const int32_t* positions;  // [batch, nodes]  kRandom only
  bool* selected;            // [batch, nodes]  out
  Rule rule;
  double limit;
  int64_t seed;                  // the four below: kRandom only, as in Sampling
  const int64_t* request_seeds;  // [batch]
  int64_t step;
  const int64_t* device_step;  // [1]
  int64_t batch;
  int64_t nodes;
};

Status validate(const SelectArgs& args);

namespace cpu {
Status select(const SelectArgs& args, const Executor& executor = {});
}
namespace cuda {
Status select(const SelectArgs& args, Stream stream);
}

}  // namespace unmask
