// CUDA's atomics, for the types CUDA has them for. Relaxed, as there; what a plain access next to
// one of them does is for TSan to judge.
#pragma once

#include "engine.h"

namespace simt {

template <class T, class Change>
T change(T* address, Change next) {
  preemption_point();
  T before;
  __atomic_load(address, &before, __ATOMIC_RELAXED);
  for (T after = next(before); !__atomic_compare_exchange(address, &before, &after, false,
                                                          __ATOMIC_RELAXED, __ATOMIC_RELAXED);)
    after = next(before);
  return before;
}

}  // namespace simt

#define SIMT_ATOMIC(name, type, result)                                         \
  inline type name(type* address, type value) {                                 \
    return simt::change(address, [value](type old) -> type { return result; }); \
  }
#define SIMT_ATOMIC_INTEGERS(name, result) \
  SIMT_ATOMIC(name, int, result)           \
  SIMT_ATOMIC(name, unsigned, result)      \
  SIMT_ATOMIC(name, unsigned long long, result)

SIMT_ATOMIC_INTEGERS(atomicAdd, old + value)
SIMT_ATOMIC(atomicAdd, float, old + value)
SIMT_ATOMIC(atomicAdd, double, old + value)
SIMT_ATOMIC(atomicSub, int, old - value)
SIMT_ATOMIC(atomicSub, unsigned, old - value)
SIMT_ATOMIC_INTEGERS(atomicMin, value < old ? value : old)
SIMT_ATOMIC(atomicMin, long long, value < old ? value : old)
SIMT_ATOMIC_INTEGERS(atomicMax, old < value ? value : old)
SIMT_ATOMIC(atomicMax, long long, old < value ? value : old)
SIMT_ATOMIC_INTEGERS(atomicAnd, old& value)
SIMT_ATOMIC_INTEGERS(atomicOr, old | value)
SIMT_ATOMIC_INTEGERS(atomicXor, old ^ value)
SIMT_ATOMIC_INTEGERS(atomicExch, (static_cast<void>(old), value))
SIMT_ATOMIC(atomicExch, float, (static_cast<void>(old), value))
SIMT_ATOMIC(atomicInc, unsigned, old >= value ? 0 : old + 1)
SIMT_ATOMIC(atomicDec, unsigned, old == 0 || old > value ? value : old - 1)

#define SIMT_ATOMIC_CAS(type)                                                               \
  inline type atomicCAS(type* address, type expected, type desired) {                       \
    return simt::change(address,                                                            \
                        [=](type old) -> type { return old == expected ? desired : old; }); \
  }
SIMT_ATOMIC_CAS(int)
SIMT_ATOMIC_CAS(unsigned)
SIMT_ATOMIC_CAS(unsigned long long)
SIMT_ATOMIC_CAS(unsigned short)

#undef SIMT_ATOMIC
#undef SIMT_ATOMIC_INTEGERS
#undef SIMT_ATOMIC_CAS
