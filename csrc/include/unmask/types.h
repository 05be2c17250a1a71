#pragma once

#include <cstdint>

struct CUstream_st;  // cudaStream_t's pointee; must be declared outside the namespace

namespace [[gnu::visibility("default")]] unmask {

using Stream = ::CUstream_st*;  // the same type as cudaStream_t, without the CUDA headers

enum class DType : int8_t { kFloat32, kBFloat16, kFloat16, kInt32, kInt64, kBool };

// What is refused, by name, before anything is written.
inline constexpr int64_t kMaxNodes = 8192;        // masked positions of one row and step
inline constexpr int64_t kMaxVocab = 1 << 20;     // tokens
inline constexpr int64_t kMaxTopK = 64;           // ids returned per node
inline constexpr int64_t kMaxHeadDim = 256;       // elements of one attention head
inline constexpr int64_t kMaxCells = 0x7fffffff;  // batch * nodes

// Node sets and conflict rows are bitmasks: node j lives in bit (j % 32) of word (j // 32).
inline constexpr int kBitsPerWord = 32;

constexpr int64_t words_for(int64_t nodes) { return (nodes + kBitsPerWord - 1) / kBitsPerWord; }

}  // namespace unmask
