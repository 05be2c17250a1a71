// The second half of topk_confidence: drawing tokens instead of taking the most probable ones.
#pragma once

#include "unmask/topk_confidence.h"

namespace unmask::cuda {

// After topk_confidence has filled its outputs for temperature 0: replaces `token` and `confidence`
// by a draw, where the row has a finite maximum. Same stream, nothing else is written.
Status draw_tokens(const TopKConfidenceArgs& args, Stream stream);

// The same in one launch, for a caller whose next kernel begins with finish_draw() of
// device/draw.cuh where needs_finish() says so.
Status draw_unfinished(const TopKConfidenceArgs& args, Stream stream);

// The latter for Sampler::kTwoLevel, which needs what topk_confidence left in the workspace.
Status draw_in_two_levels(const TopKConfidenceArgs& args, Stream stream);

}  // namespace unmask::cuda
