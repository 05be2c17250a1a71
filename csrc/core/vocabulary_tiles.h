// How the CUDA kernels cut a vocabulary. Partial sums belong to a tile and are combined in the
// order of the tiles, so that who reads which tile changes no bit.
#pragma once

#include <cstdint>

namespace unmask {

inline constexpr int kTile = 1024;  // tokens; the last tile of a vocabulary may be shorter

constexpr int64_t tiles_of(int64_t vocab) { return (vocab + kTile - 1) / kTile; }

}  // namespace unmask
