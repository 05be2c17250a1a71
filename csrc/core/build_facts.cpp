#include "unmask/version.h"

namespace unmask {
namespace {

const char* cpu_selected() {
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)  // as cpu/multiversion.h
  __builtin_cpu_init();
  if (__builtin_cpu_supports("x86-64-v4")) return "x86-64-v4";
  if (__builtin_cpu_supports("x86-64-v3")) return "x86-64-v3";
#endif
  return "baseline";
}

}  // namespace

BuildFacts build_facts() {
  return {
      UNMASK_VERSION,    UNMASK_COMPILER,     UNMASK_BUILD_TYPE, UNMASK_NVCC,
      UNMASK_CUDA_ARCHS, UNMASK_CPU_DISPATCH, cpu_selected(),
  };
}

}  // namespace unmask
