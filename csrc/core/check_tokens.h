#pragma once

#include <string>

#include "core/check.h"

namespace unmask {

inline void check_tokens(Check& check, const TensorView& tokens) {
  check.dtype(tokens, {DType::kInt64, DType::kInt32})
      .rank(tokens, "[B, L]", 2)
      .unit_stride(tokens, "the sequence");
}

// Rows on top of each other, as expand() makes them, would be written by several sequences at once.
inline void check_writable_tokens(Check& check, const TensorView& tokens) {
  check_tokens(check, tokens);
  if (!check.ok()) return;
  const int64_t batch = tokens.size[0], length = tokens.size[1];
  check.that(batch <= 1 || length == 0 || tokens.stride[0] >= length, "tokens",
             "have rows that do not overlap", "row stride " + std::to_string(tokens.stride[0]));
}

}  // namespace unmask
