// How the CUDA backend cuts attention_scores into parts that blocks can share, and the scratch this
// takes. A sum is always taken within parts first, and over the parts in ascending order, so the
// parts depend on the model alone: neither the batch nor the number of nodes can change a bit.
#pragma once

#include <algorithm>

#include "unmask/attention_scores.h"

namespace unmask {

struct AttentionParts {
  static constexpr int64_t kMaxParts = 8;
  static constexpr int64_t kMinHeads = 4;   // fewer are not worth a buffer of scores
  static constexpr int64_t kMinKeys = 512;  // fewer are not worth loading the queries again
  static constexpr int64_t kSmallTile = 64;
  static constexpr int64_t kEnoughTiles = 256;  // to keep any GPU busy without sharing tiles

  int64_t heads_per_part, head_parts;
  int64_t keys_per_part, key_parts;
  bool heads_are_shared;  // between blocks; else one block adds all parts of a tile

  explicit AttentionParts(const AttentionScoresArgs& args)
      : heads_per_part(std::max(kMinHeads, ceil_div(args.query_heads, kMaxParts))),
        head_parts(ceil_div(args.query_heads, heads_per_part)),
        keys_per_part(ceil_div(std::max(kMinKeys, ceil_div(args.length, kMaxParts)), kSmallTile) *
                      kSmallTile),
        key_parts(ceil_div(args.length, keys_per_part)) {
    const int64_t side = ceil_div(args.nodes, kSmallTile);
    heads_are_shared = head_parts > 1 && args.batch * side * side < kEnoughTiles;
  }

  static constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

  // Masked queries of all heads. Without lse each has a maximum and a sum per part of the keys,
  // and then a maximum and a factor: pairs of floats, first in the workspace.
  static constexpr int64_t rows(const AttentionScoresArgs& args) {
    return args.batch * args.query_heads * args.nodes;
  }
  int64_t row_floats(const AttentionScoresArgs& args) const {
    return args.lse ? 0 : 2 * rows(args) * (key_parts + 1);
  }

  // Scores of each part of the heads, behind the rows.
  int64_t score_floats(const AttentionScoresArgs& args) const {
    return heads_are_shared ? head_parts * args.batch * args.nodes * args.nodes : 0;
  }
};

}  // namespace unmask
