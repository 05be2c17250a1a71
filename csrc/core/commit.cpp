#include "unmask/commit.h"

#include <limits>

#include "core/bind.h"
#include "core/check.h"
#include "core/check_tokens.h"

namespace unmask {

Status bind(CommitArgs& args, const TensorView& tokens, const TensorView& positions,
            const TensorView& token, const TensorView& selected) {
  Check check;
  check_writable_tokens(check, tokens);
  check.dtype(positions, {DType::kInt32}).rank(positions, "[B, N]", 2);
  if (!check.ok()) return check.status();

  const int64_t batch = tokens.size[0], length = tokens.size[1], nodes = positions.size[1];
  check.shape(positions, "[B, N]", {batch, nodes})
      .contiguous(positions)
      .device(positions, tokens)
      .dtype(token, {DType::kInt64})
      .shape(token, "[B, N]", {batch, nodes})
      .contiguous(token)
      .device(token, tokens)
      .dtype(selected, {DType::kBool})
      .shape(selected, "[B, N]", {batch, nodes})
      .contiguous(selected)
      .device(selected, tokens);
  if (!check.ok()) return check.status();

  args.tokens = tokens.data;
  args.positions = positions.as<const int32_t>();
  args.token = token.as<const int64_t>();
  args.selected = selected.as<const bool>();
  args.token_type = tokens.dtype;
  args.token_stride = tokens.stride[0];
  args.batch = batch;
  args.length = length;
  args.nodes = nodes;
  return validate(args);
}

Status validate(const CommitArgs& args) {
  return Check()
      .at_most("length L", args.length, std::numeric_limits<int32_t>::max())
      .at_most("batch", args.batch, kMaxCells)  // also without nodes
      .at_most("batch * nodes", args.batch * args.nodes, kMaxCells)
      .status();
}

}  // namespace unmask
