#pragma once

#include <cstdint>

#include "unmask/commit.h"
#include "unmask/dapd_select.h"
#include "unmask/dependency_graph.h"
#include "unmask/masked_positions.h"
#include "unmask/select.h"
#include "unmask/topk_confidence.h"

namespace [[gnu::visibility("default")]] unmask {

// What every fused step shares: the sequence, the logits, and what it reports.
struct StepArgs {
  void* tokens;  // [batch, length]  in and out; int64 or int32
  DType token_type;
  int64_t token_stride;  // in elements
  int64_t length;
  int64_t mask_id;
  LogitRows rows;  // rows.positions: the nodes of this step; never null
  Sampling sampling;
  const int64_t* suppress_tokens;
  int64_t suppress_count;

  int32_t* committed;  // [batch]         out: tokens written
  int32_t* remaining;  // [batch]         out: masks left in the row afterwards
  bool* selected;      // [batch, nodes]  out

  void* workspace;  // step_workspace(...) bytes, 16-byte aligned
};

// One decoding step with a rule of `select`.
struct SelectStepArgs {
  StepArgs step;
  Rule rule;
  double limit;
};

// One decoding step of DAPD.
struct DapdStepArgs {
  StepArgs step;
  const float* scores;        // [batch, nodes, nodes]
  const int32_t* gen_length;  // [batch] masks at the start; null: those before this step
  double tau_min;
  double tau_max;
  Edge edge;
  bool normalize;
  Order order;
  Late late;
  float precommit;
  float late_threshold;
  float late_progress;
};

Status validate(const SelectStepArgs& args);
Status validate(const DapdStepArgs& args);

// Scratch of one step, in bytes.
int64_t step_workspace(const SelectStepArgs& args);
int64_t step_workspace(const DapdStepArgs& args);

// Exactly the composition of the operators: topk_confidence, (dependency_graph,) the selection,
// commit; in place, and nothing but the outputs leaves the workspace.
namespace cpu {
Status select_step(const SelectStepArgs& args, const Executor& executor = {});
Status dapd_step(const DapdStepArgs& args, const Executor& executor = {});
}  // namespace cpu
namespace cuda {
Status select_step(const SelectStepArgs& args, Stream stream);
Status dapd_step(const DapdStepArgs& args, Stream stream);
}  // namespace cuda

}  // namespace unmask
