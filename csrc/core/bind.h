// From arrays to arguments: checks what only an array knows (shape, dtype, device, strides), fills
// in the pointers of the inputs and every size. A door then allocates the outputs and runs. Every
// door shares these checks, so that no caller can walk around them.
#pragma once

#include "core/tensor_view.h"
#include "unmask/unmask.h"

namespace unmask {

Status bind(IndependentSetArgs& args, const TensorView& conflict, const TensorView& priority,
            const TensorView& eligible);

}  // namespace unmask
