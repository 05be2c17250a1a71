// Sets of nodes as words of 32 bits: node j is bit j % 32 of word j / 32.
#pragma once

#include "cuda/device/portable.cuh"
#include "unmask/types.h"

namespace unmask::cuda {

__device__ __forceinline__ bool has_bit(const uint32_t* words, int node) {
  return words[node / kBitsPerWord] >> (node % kBitsPerWord) & 1u;
}

// Any number of threads may set bits of the same word.
__device__ __forceinline__ void set_bit(uint32_t* words, int node) {
  atomicOr(&words[node / kBitsPerWord], 1u << (node % kBitsPerWord));
}

// Every lane calls it with the same `bits`; calls body(index) for each set bit, ascending.
template <class Body>
__device__ __forceinline__ void for_each_bit(uint32_t bits, Body body) {
  for (; bits != 0; bits &= bits - 1) body(__ffs(static_cast<int>(bits)) - 1);
}

}  // namespace unmask::cuda
