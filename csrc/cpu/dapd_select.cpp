#include "unmask/dapd_select.h"

#include <algorithm>

#include "cpu/most_confident.h"
#include "cpu/parallel.h"
#include "unmask/independent_set.h"

namespace unmask::cpu {
namespace {

float priority_of(const DapdSelectArgs& args, int64_t cell) {
  switch (args.order) {
    case Order::kDegreeTimesConfidence: return args.degree[cell] * args.confidence[cell];
    case Order::kDegree: return args.degree[cell];
    case Order::kConfidence: return args.confidence[cell];
  }
  return 0.0f;
}

bool is_late(const DapdSelectArgs& args, int64_t row) {
  return args.late != Late::kNone &&
         progress_of(args.remaining[row], args.gen_length[row]) >= args.late_progress;
}

// Who is scanned, and in which order.
void prepare_row(const DapdSelectArgs& args, int64_t row) {
  const bool scans = !(args.late == Late::kSwitch && is_late(args, row));
  for (int64_t cell = row * args.nodes; cell < (row + 1) * args.nodes; ++cell) {
    args.priority[cell] = priority_of(args, cell);
    args.eligible[cell] =
        scans && args.token[cell] >= 0 && !(args.confidence[cell] >= args.precommit);
  }
}

// Adds to the independent set who is taken for its confidence alone.
void complete_row(const DapdSelectArgs& args, int64_t row) {
  const bool late = is_late(args, row), replaced = late && args.late == Late::kSwitch;
  bool any = false;
  for (int64_t cell = row * args.nodes; cell < (row + 1) * args.nodes; ++cell) {
    const float confidence = args.confidence[cell];
    const bool taken =
        (!replaced && confidence >= args.precommit) || (late && confidence >= args.late_threshold);
    args.selected[cell] |= taken && args.token[cell] >= 0;
    any |= args.selected[cell];
  }
  if (any) return;
  const int64_t first = row * args.nodes;
  const int64_t best = most_confident(args.confidence + first, args.token + first, args.nodes);
  if (best >= 0) args.selected[first + best] = true;
}

}  // namespace

Status dapd_select(const DapdSelectArgs& args, const Executor& executor) {
  if (Status status = validate(args); !status.ok()) return status;

  auto prepare = [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) prepare_row(args, row);
  };
  parallel_for(executor, args.batch, prepare);

  IndependentSetArgs scan{};
  scan.conflict = args.conflict;
  scan.priority = args.priority;
  scan.eligible = args.eligible;
  scan.selected = args.selected;
  scan.batch = args.batch;
  scan.nodes = args.nodes;
  if (Status status = independent_set(scan, executor); !status.ok()) return status;

  auto complete = [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) complete_row(args, row);
  };
  parallel_for(executor, args.batch, complete);
  return Status::success();
}

}  // namespace unmask::cpu
