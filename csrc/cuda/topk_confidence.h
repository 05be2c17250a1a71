// topk_confidence for callers that clear several workspaces at once.
#pragma once

#include "unmask/topk_confidence.h"

namespace unmask::cuda {

// How many bytes at the start of args.workspace must be 0 when topk_confidence_cleared runs.
int64_t topk_confidence_bytes_to_clear(const TopKConfidenceArgs& args);

// topk_confidence, those bytes being 0 already.
Status topk_confidence_cleared(const TopKConfidenceArgs& args, Stream stream);

}  // namespace unmask::cuda
