// DAPD's schedule, in float32 operations that every backend rounds alike.
#pragma once

#include "core/exact_math.h"

namespace unmask::schedule {

// See progress_of and tau_at in unmask/dapd_select.h.
UNMASK_HOST_DEVICE float progress(int32_t remaining, int32_t gen_length) {
  if (gen_length <= 0) return 0.0f;
  const float left = static_cast<float>(remaining) / static_cast<float>(gen_length);
  return exact::add(1.0f, -left);
}

UNMASK_HOST_DEVICE float tau(double tau_min, double tau_max, float progress) {
  const float scaled = exact::mul(static_cast<float>(tau_max - tau_min), progress);
  return exact::add(static_cast<float>(tau_min), scaled);
}

}  // namespace unmask::schedule
