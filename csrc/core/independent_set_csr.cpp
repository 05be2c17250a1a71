#include "unmask/independent_set_csr.h"

#include <limits>

#include "core/bind.h"
#include "core/check.h"

namespace unmask {

Status bind(IndependentSetCsrArgs& args, const TensorView& indptr, const TensorView& indices,
            const TensorView& priority, const TensorView& eligible) {
  Check check;
  check.dtype(priority, {DType::kFloat32}).rank(priority, "[N]", 1).contiguous(priority);
  if (!check.ok()) return check.status();

  const int64_t nodes = priority.size[0];
  check.dtype(indptr, {DType::kInt32, DType::kInt64})
      .shape(indptr, "[N + 1]", {nodes + 1})
      .contiguous(indptr)
      .device(indptr, priority)
      .dtype(indices, {DType::kInt32})
      .rank(indices, "[E]", 1)
      .contiguous(indices)
      .device(indices, priority);
  if (eligible.given())
    check.dtype(eligible, {DType::kBool})
        .shape(eligible, "[N]", {nodes})
        .contiguous(eligible)
        .device(eligible, priority);
  if (!check.ok()) return check.status();

  args.indptr = indptr.data;
  args.indptr_type = indptr.dtype;
  args.indices = indices.as<const int32_t>();
  args.priority = priority.as<const float>();
  args.eligible = eligible.as<const bool>();
  args.nodes = nodes;
  args.entries = indices.size[0];
  return validate(args);
}

Status validate(const IndependentSetCsrArgs& args) {
  return Check().at_most("nodes N", args.nodes, std::numeric_limits<int32_t>::max()).status();
}

int64_t independent_set_csr_workspace(const IndependentSetCsrArgs& args) {
  return 2 * args.nodes * static_cast<int64_t>(sizeof(uint64_t));  // keys, and as many to sort
}

int64_t independent_set_csr_cuda_workspace(const IndependentSetCsrArgs& args) {
  constexpr int64_t kPerNode = 5;  // state, passed, parked, next, queue
  return (kPerNode * args.nodes + words_for(args.nodes)) * static_cast<int64_t>(sizeof(uint32_t));
}

}  // namespace unmask
