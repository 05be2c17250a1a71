// From arrays to arguments: checks what only an array knows (shape, dtype, device, strides), fills
// in the pointers of the inputs and every size. A door then allocates the outputs and runs. Every
// door shares these checks, so that no caller can walk around them.
#pragma once

#include "core/tensor_view.h"
#include "unmask/unmask.h"

namespace unmask {

Status bind(IndependentSetArgs& args, const TensorView& conflict, const TensorView& priority,
            const TensorView& eligible);

// Numbers (scales, shifts, k, sampling, ...) are set by the door before it binds, so that they are
// checked together with the arrays.
Status bind(LogitRows& rows, const TensorView& logits, const TensorView& positions);
Status bind(TopKConfidenceArgs& args, const TensorView& logits, const TensorView& positions,
            const TensorView& suppress_tokens, const TensorView& request_seeds,
            const TensorView& device_step);
Status bind(KlDivergenceArgs& args, const TensorView& logits, const TensorView& previous,
            const TensorView& positions);

}  // namespace unmask
