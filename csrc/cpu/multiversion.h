// One function, compiled for several instruction sets; the loader picks at run time. Wheels then
// run everywhere and are fast where they can be, without -march=native.
#pragma once

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define UNMASK_MULTIVERSION \
  __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define UNMASK_MULTIVERSION
#endif

// For the helpers of such a function: they must become part of it, not be called from it.
#define UNMASK_INLINE inline __attribute__((always_inline))
