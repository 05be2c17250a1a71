#pragma once

namespace [[gnu::visibility("default")]] unmask {

// What this library was built from, and what it chose here: for `unmask doctor` and bug reports.
struct BuildFacts {
  const char* version;       // "0.1.0"
  const char* compiler;      // "GNU 12.2.0"
  const char* build_type;    // "Release"
  const char* nvcc;          // the CUDA compiler found while building, "" when there was none
  const char* cuda_archs;    // "80-real, 90-real, ...", "" when built without CUDA kernels
  const char* cpu_dispatch;  // the instruction sets chosen between at run time
  const char* cpu_selected;  // the one of them that this CPU runs
};

BuildFacts build_facts();

}  // namespace unmask
