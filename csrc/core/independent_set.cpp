#include "unmask/independent_set.h"

#include "core/bind.h"
#include "core/check.h"

namespace unmask {

Status bind(IndependentSetArgs& args, const TensorView& conflict, const TensorView& priority,
            const TensorView& eligible) {
  Check check;
  check.dtype(conflict, {DType::kInt32}).rank(conflict, "[B, N, ceil(N / 32)]", 3);
  if (!check.ok()) return check.status();

  const int64_t batch = conflict.size[0], nodes = conflict.size[1];
  check.shape(conflict, "[B, N, ceil(N / 32)]", {batch, nodes, words_for(nodes)})
      .contiguous(conflict)
      .dtype(priority, {DType::kFloat32})
      .shape(priority, "[B, N]", {batch, nodes})
      .contiguous(priority)
      .device(priority, conflict);
  if (eligible.given())
    check.dtype(eligible, {DType::kBool})
        .shape(eligible, "[B, N]", {batch, nodes})
        .contiguous(eligible)
        .device(eligible, conflict);
  if (!check.ok()) return check.status();

  args.conflict = conflict.as<const int32_t>();
  args.priority = priority.as<const float>();
  args.eligible = eligible.as<const bool>();
  args.batch = batch;
  args.nodes = nodes;
  return validate(args);
}

Status validate(const IndependentSetArgs& args) {
  return Check()
      .at_most("nodes N", args.nodes, kMaxNodes)
      .at_most("batch * nodes", args.batch * args.nodes, kMaxCells)
      .status();
}

}  // namespace unmask
