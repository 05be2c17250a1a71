#include "unmask/select.h"

#include <cmath>

#include "core/bind.h"
#include "core/check.h"
#include "core/words.h"

namespace unmask {
namespace {

// An optional argument of one value per node.
void check_nodes(Check& check, const TensorView& view, DType dtype, const TensorView& confidence) {
  if (!view.given()) return;
  check.dtype(view, {dtype})
      .shape(view, "[B, N]", {confidence.size[0], confidence.size[1]})
      .contiguous(view)
      .device(view, confidence);
}

}  // namespace

Status bind(SelectArgs& args, const TensorView& confidence, const TensorView& token,
            const std::string& rule, const TensorView& entropy, const TensorView& eligible,
            const TensorView& positions, const TensorView& request_seeds,
            const TensorView& device_step) {
  if (Status status = parse_rule(rule, &args.rule); !status.ok()) return status;
  Check check;
  check.dtype(confidence, {DType::kFloat32}).rank(confidence, "[B, N]", 2).contiguous(confidence);
  if (!check.ok()) return check.status();

  const int64_t batch = confidence.size[0];
  check_nodes(check, token, DType::kInt64, confidence);
  check_nodes(check, entropy, DType::kFloat32, confidence);
  check_nodes(check, eligible, DType::kBool, confidence);
  check_nodes(check, positions, DType::kInt32, confidence);
  if (request_seeds.given())
    check.dtype(request_seeds, {DType::kInt64})
        .shape(request_seeds, "[B]", {batch})
        .contiguous(request_seeds)
        .device(request_seeds, confidence);
  if (device_step.given())
    check.dtype(device_step, {DType::kInt64})
        .shape(device_step, "[1]", {1})
        .device(device_step, confidence);
  check.that(args.rule != Rule::kEntropy || entropy.given(), "entropy",
             "be given for rule 'entropy'", "nothing");
  if (!check.ok()) return check.status();

  args.confidence = confidence.as<const float>();
  args.token = token.as<const int64_t>();
  args.entropy = entropy.as<const float>();
  args.eligible = eligible.as<const bool>();
  args.positions = positions.as<const int32_t>();
  args.request_seeds = request_seeds.as<const int64_t>();
  args.device_step = device_step.as<const int64_t>();
  args.batch = batch;
  args.nodes = confidence.size[1];
  return validate(args);
}

Status validate(const SelectArgs& args) {
  const bool counts = args.rule == Rule::kTop || args.rule == Rule::kRandom;
  const bool bounds_a_sum = args.rule == Rule::kFactor || args.rule == Rule::kEntropy;
  Check check;
  if (counts)
    check.that(args.limit >= 1 && args.limit == std::floor(args.limit), "limit",
               "be a whole number >= 1 for rules 'top' and 'random'", number(args.limit));
  else
    check.that(bounds_a_sum ? args.limit >= 0 : !std::isnan(args.limit), "limit",
               bounds_a_sum ? "be >= 0 for rules 'factor' and 'entropy'" : "be a number",
               number(args.limit));
  return check.at_most("nodes N", args.nodes, kMaxNodes)
      .at_most("batch * nodes", args.batch * args.nodes, kMaxCells)
      .status();
}

}  // namespace unmask
