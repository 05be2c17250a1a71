#include "unmask/masked_positions.h"

#include <limits>

#include "core/bind.h"
#include "core/check.h"
#include "core/check_tokens.h"

namespace unmask {

Status bind(MaskedPositionsArgs& args, const TensorView& tokens, const Window& window) {
  Check check;
  check_tokens(check, tokens);
  if (!check.ok()) return check.status();

  const int64_t batch = tokens.size[0], length = tokens.size[1];
  for (const TensorView* bound : {&window.row_start, &window.row_stop})
    if (bound->given())
      check.dtype(*bound, {DType::kInt64})
          .shape(*bound, "[B]", {batch})
          .contiguous(*bound)
          .device(*bound, tokens);
  const bool on_device = window.row_start.given() || window.row_stop.given();
  const int64_t start = window.row_start.given() ? 0 : window.start;
  const int64_t stop = window.row_stop.given() ? length : window.stop.value_or(length);
  check.range("start", start, 0, length).range("stop", stop, start, length);
  if (!check.ok()) return check.status();

  args.tokens = tokens.data;
  args.row_start = window.row_start.as<const int64_t>();
  args.row_stop = window.row_stop.as<const int64_t>();
  args.token_type = tokens.dtype;
  args.token_stride = tokens.stride[0];
  args.start = start;
  args.stop = stop;
  args.batch = batch;
  args.length = length;
  args.capacity = window.capacity.value_or(on_device ? length : stop - start);
  return validate(args);
}

Status validate(const MaskedPositionsArgs& args) {
  constexpr int64_t kMaxLength = std::numeric_limits<int32_t>::max();
  return Check()
      .at_most("length L", args.length, kMaxLength)
      .range("capacity", args.capacity, 0, kMaxLength)
      .range("start", args.start, 0, args.length)
      .range("stop", args.stop, args.start, args.length)
      .at_most("batch * capacity", args.batch * args.capacity, kMaxCells)
      .status();
}

}  // namespace unmask
