#include "unmask/step.h"

#include <cmath>

#include "core/bind.h"
#include "core/check.h"
#include "core/check_tokens.h"
#include "core/step_parts.h"
#include "core/words.h"

namespace unmask {
namespace {

Status bind_step(StepArgs& step, const StepInputs& inputs) {
  Check check;
  check_writable_tokens(check, inputs.tokens);
  if (!check.ok()) return check.status();

  const int64_t batch = inputs.tokens.size[0];
  check.shape(inputs.logits, "[B, L, V]", {batch, Check::kAny, Check::kAny})
      .device(inputs.logits, inputs.tokens);
  if (!check.ok()) return check.status();

  TopKConfidenceArgs part{};
  part.rows = step.rows;
  part.sampling = step.sampling;
  part.k = 1;
  if (Status status = unmask::bind(part, inputs.logits, inputs.positions, inputs.suppress_tokens,
                                   inputs.request_seeds, inputs.device_step, inputs.sampler);
      !status.ok())
    return status;

  step.rows = part.rows;
  step.sampling = part.sampling;
  step.suppress_tokens = part.suppress_tokens;
  step.suppress_count = part.suppress_count;
  step.tokens = inputs.tokens.data;
  step.token_type = inputs.tokens.dtype;
  step.token_stride = inputs.tokens.stride[0];
  step.length = inputs.tokens.size[1];
  return Status::success();
}

}  // namespace

Status bind(SelectStepArgs& args, const StepInputs& inputs, const std::string& rule) {
  if (Status status = parse_rule(rule, &args.rule); !status.ok()) return status;
  if (Status status = bind_step(args.step, inputs); !status.ok()) return status;
  return validate(args);
}

Status bind(DapdStepArgs& args, const StepInputs& inputs, const TensorView& scores,
            const TensorView& gen_length, const std::string& edge, const std::string& order,
            const std::optional<std::string>& late) {
  if (Status status = parse_order(order, &args.order); !status.ok()) return status;
  if (Status status = parse_late(late, &args.late); !status.ok()) return status;
  if (Status status = bind_step(args.step, inputs); !status.ok()) return status;

  DependencyGraphArgs graph{};
  if (Status status = unmask::bind(graph, scores, inputs.positions, {}, edge); !status.ok())
    return status;
  Check check;
  check.device(scores, inputs.tokens);
  if (gen_length.given())
    check.dtype(gen_length, {DType::kInt32})
        .shape(gen_length, "[B]", {graph.batch})
        .contiguous(gen_length)
        .device(gen_length, inputs.tokens);
  if (!check.ok()) return check.status();

  args.scores = graph.scores;
  args.edge = graph.edge;
  args.gen_length = gen_length.as<const int32_t>();
  return validate(args);
}

Status validate(const SelectStepArgs& args) {
  const SelectStepParts parts = parts_of(args);
  if (Status status = validate(parts.confidence); !status.ok()) return status;
  if (Status status = validate(parts.selection); !status.ok()) return status;
  return validate(parts.commit);
}

Status validate(const DapdStepArgs& args) {
  const DapdStepParts parts = parts_of(args);
  if (Status status = validate(parts.confidence); !status.ok()) return status;
  if (Status status = validate(parts.graph); !status.ok()) return status;
  if (Status status = validate(parts.selection); !status.ok()) return status;
  if (Status status = validate(parts.commit); !status.ok()) return status;
  return Check()
      .that(std::isfinite(args.tau_min), "tau_min", "be finite", number(args.tau_min))
      .that(std::isfinite(args.tau_max), "tau_max", "be finite", number(args.tau_max))
      .status();
}

int64_t step_workspace(const SelectStepArgs& args) { return parts_of(args).bytes; }
int64_t step_workspace(const DapdStepArgs& args) { return parts_of(args).bytes; }

}  // namespace unmask
