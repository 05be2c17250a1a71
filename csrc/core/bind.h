// From arrays to arguments: checks what only an array knows (shape, dtype, device, strides), fills
// in the pointers of the inputs and every size. A door then allocates the outputs and runs. Every
// door shares these checks, so that no caller can walk around them.
#pragma once

#include <optional>
#include <string>

#include "core/tensor_view.h"
#include "unmask/unmask.h"

namespace unmask {

// `out`, when given, is added into. Without `scale` it is 1 / sqrt(D). Set `weight` before.
Status bind(AttentionScoresArgs& args, const TensorView& query, const TensorView& key,
            const TensorView& positions, const TensorView& lse, const TensorView& attn_mask,
            const TensorView& out, std::optional<double> scale);
Status bind(AttentionScoresFromProbsArgs& args, const TensorView& probs,
            const TensorView& positions, const TensorView& out);

// Set `tau` before, unless there is a `row_tau`.
Status bind(DependencyGraphArgs& args, const TensorView& scores, const TensorView& positions,
            const TensorView& row_tau, const std::string& edge);

Status bind(IndependentSetArgs& args, const TensorView& conflict, const TensorView& priority,
            const TensorView& eligible);

}  // namespace unmask
