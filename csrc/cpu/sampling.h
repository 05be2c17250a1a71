#pragma once

#include <cstdint>

#include "core/gumbel.h"
#include "cpu/vocabulary.h"
#include "unmask/topk_confidence.h"

namespace unmask::cpu {

// A row whose largest logit is finite, with the largest of each group.
struct DrawArgs {
  const VocabularyRow& row;
  const float* maxima;    // [row.groups()]
  int64_t most_probable;  // token of the largest logit
  float max;              // that logit
  float factor;           // logit_scale / temperature
  NoiseStream stream;
};

// A sample of softmax(factor * logits), see core/two_level.h: the same token on every machine.
int64_t draw_token_in_two_levels(const DrawArgs& args);

// A sample of softmax(factor * logits) after top_k and then top_p: the same token on every machine.
int64_t draw_token(const DrawArgs& args, int64_t top_k, double top_p);

}  // namespace unmask::cpu
