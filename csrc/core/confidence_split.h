// How topk_confidence on CUDA deals rows to blocks, and what the blocks of one row tell each other
// through the workspace. Shapes alone decide.
#pragma once

#include <cstdint>

#include "core/vocabulary_tiles.h"
#include "unmask/topk_confidence.h"

namespace unmask {

// Sums over a tile relative to its largest logit.
struct TileSums {
  float max;       // -inf: nothing usable, the sums mean nothing
  float sum;       // sum of e_v = exp(scale * (x_v - max))
  float weighted;  // sum of e_v * scale * (max - x_v), in bits (log2 instead of log)
};

struct ConfidenceSplit {
  int64_t slices;           // blocks of one row
  int64_t tiles_per_slice;  // the last slice may have fewer, but at least one

  // The workspace. Null: `keys` without the two-level sampler, the others where a row has one block.
  uint32_t* arrived;  // [cells]             slices of a row that are done; 0 before the launch
  uint64_t* best;     // [cells, slices, k]  the top k of each slice
  TileSums* without;  // [cells, slices]     the tile of a slice's best token, without that token
  TileSums* sums;     // [cells, tiles]
  uint16_t* keys;     // [cells, parts]      core/two_level.h: short_key of each part
  int64_t bytes;
  int64_t cleared_bytes;  // at its start: what must be 0 before the launch
};

ConfidenceSplit split_of(const TopKConfidenceArgs& args);

}  // namespace unmask
