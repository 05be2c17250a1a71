#include "unmask/version.h"

namespace unmask {

BuildFacts build_facts() {
  return {
      UNMASK_VERSION, UNMASK_COMPILER,   UNMASK_BUILD_TYPE,
      UNMASK_NVCC,    UNMASK_CUDA_ARCHS, UNMASK_CPU_DISPATCH,
  };
}

}  // namespace unmask
