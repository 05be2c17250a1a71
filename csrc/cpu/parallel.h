#pragma once

#include <cstdint>

#include "unmask/executor.h"

namespace unmask::cpu {

// body(begin, end) over disjoint ranges that cover [0, tasks), on the caller's threads if it lent
// any. Tasks must not depend on how they are split.
template <class Body>
void parallel_for(const Executor& executor, int64_t tasks, Body& body) {
  if (tasks <= 0) return;
  if (executor.parallel_for == nullptr) return body(int64_t{0}, tasks);
  executor.parallel_for(
      executor.pool, tasks,
      [](void* context, int64_t begin, int64_t end) { (*static_cast<Body*>(context))(begin, end); },
      &body);
}

}  // namespace unmask::cpu
