// A fused step taken apart: the operators it is made of, as arguments over one workspace. Both
// backends run these parts, so that a step equals the composition of the operators.
#pragma once

#include "unmask/step.h"

namespace unmask {

// `before` and `row_tau` are for the backend to fill in before the parts that read them.
struct SelectStepParts {
  TopKConfidenceArgs confidence{};
  SelectArgs selection{};
  CommitArgs commit{};
  int64_t bytes = 0;  // of workspace
};

struct DapdStepParts {
  TopKConfidenceArgs confidence{};
  DependencyGraphArgs graph{};
  DapdSelectArgs selection{};
  CommitArgs commit{};
  int32_t* before = nullptr;  // [batch]  masks left before this step
  float* row_tau = nullptr;   // [batch]
  int64_t bytes = 0;
};

// With a null workspace the parts have sizes but no scratch: enough to validate and to measure.
SelectStepParts parts_of(const SelectStepArgs& args);
DapdStepParts parts_of(const DapdStepArgs& args);

}  // namespace unmask
