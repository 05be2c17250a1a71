#include "unmask/dapd_select.h"

#include <cmath>

#include "core/bind.h"
#include "core/check.h"
#include "core/schedule.h"
#include "core/words.h"

namespace unmask {

Status bind(DapdSelectArgs& args, const TensorView& confidence, const TensorView& token,
            const TensorView& conflict, const TensorView& degree, const TensorView& remaining,
            const TensorView& gen_length, const std::string& order,
            const std::optional<std::string>& late) {
  if (Status status = parse_order(order, &args.order); !status.ok()) return status;
  if (Status status = parse_late(late, &args.late); !status.ok()) return status;
  Check check;
  check.dtype(confidence, {DType::kFloat32}).rank(confidence, "[B, N]", 2).contiguous(confidence);
  if (!check.ok()) return check.status();

  const int64_t batch = confidence.size[0], nodes = confidence.size[1];
  check.dtype(token, {DType::kInt64})
      .shape(token, "[B, N]", {batch, nodes})
      .contiguous(token)
      .device(token, confidence)
      .dtype(conflict, {DType::kInt32})
      .shape(conflict, "[B, N, ceil(N / 32)]", {batch, nodes, words_for(nodes)})
      .contiguous(conflict)
      .device(conflict, confidence)
      .dtype(degree, {DType::kFloat32})
      .shape(degree, "[B, N]", {batch, nodes})
      .contiguous(degree)
      .device(degree, confidence);
  for (const TensorView* count : {&remaining, &gen_length})
    check.dtype(*count, {DType::kInt32})
        .shape(*count, "[B]", {batch})
        .contiguous(*count)
        .device(*count, confidence);
  if (!check.ok()) return check.status();

  args.confidence = confidence.as<const float>();
  args.token = token.as<const int64_t>();
  args.conflict = conflict.as<const int32_t>();
  args.degree = degree.as<const float>();
  args.remaining = remaining.as<const int32_t>();
  args.gen_length = gen_length.as<const int32_t>();
  args.batch = batch;
  args.nodes = nodes;
  return validate(args);
}

Status validate(const DapdSelectArgs& args) {
  const auto is_number = [](float value) { return !std::isnan(value); };
  return Check()
      .at_most("nodes N", args.nodes, kMaxNodes)
      .at_most("batch * nodes", args.batch * args.nodes, kMaxCells)
      .that(is_number(args.precommit), "precommit", "be a number", "nan")
      .that(is_number(args.late_threshold), "late_threshold", "be a number", "nan")
      .that(is_number(args.late_progress), "late_progress", "be a number", "nan")
      .status();
}

float progress_of(int32_t remaining, int32_t gen_length) {
  return schedule::progress(remaining, gen_length);
}

float tau_at(double tau_min, double tau_max, float progress) {
  return schedule::tau(tau_min, tau_max, progress);
}

}  // namespace unmask
