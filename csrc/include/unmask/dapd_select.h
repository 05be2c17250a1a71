#pragma once

#include <cstdint>

#include "unmask/executor.h"
#include "unmask/status.h"
#include "unmask/types.h"

namespace [[gnu::visibility("default")]] unmask {

// In which order DAPD scans its candidates.
enum class Order : int8_t { kDegreeTimesConfidence, kDegree, kConfidence };

// What happens once `late_progress` of the masks are revealed.
enum class Late : int8_t {
  kNone,
  kUnion,   // the confident nodes join the independent set
  kSwitch,  // the confident nodes replace it
};

// DAPD's selection: a maximal independent set of the dependency graph, scanned in `order`. A node
// without a token is never selected; as long as one has a token, at least one is.
struct DapdSelectArgs {
  const float* confidence;    // [batch, nodes]
  const int64_t* token;       // [batch, nodes]  -1: padding, or nothing to commit
  const int32_t* conflict;    // [batch, nodes, words]  from dependency_graph
  const float* degree;        // [batch, nodes]         from dependency_graph
  const int32_t* remaining;   // [batch]  masks left before this step
  const int32_t* gen_length;  // [batch]  masks at the start
  bool* selected;             // [batch, nodes]  out
  float* priority;            // [batch, nodes]  scratch; on the CPU only
  bool* eligible;             // [batch, nodes]  scratch; on the CPU only
  Order order;
  Late late;
  float precommit;       // nodes at least this confident are taken, unscanned; infinity: none
  float late_threshold;  // confidence
  float late_progress;   // fraction of gen_length
  int64_t batch;
  int64_t nodes;
};

Status validate(const DapdSelectArgs& args);

// 1 - remaining / gen_length in float32; 0 when there was nothing to generate.
float progress_of(int32_t remaining, int32_t gen_length);

// tau_min + (tau_max - tau_min) * progress: the difference in double, then each operation rounded
// to float32, as torch evaluates the same line on a float32 tensor.
float tau_at(double tau_min, double tau_max, float progress);

namespace cpu {
Status dapd_select(const DapdSelectArgs& args, const Executor& executor = {});
}
namespace cuda {
Status dapd_select(const DapdSelectArgs& args, Stream stream);
}

}  // namespace unmask
