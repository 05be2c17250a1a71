// Kernels with one mistake each, and the same kernels without it. The suite checks that every
// mistake is caught by the ways of running that should catch it, and that the others are quiet.
//
//   planted <name> <planted | clean> <ascending | descending | random> [seed]
//
// The name "all" runs every one, up to the first that is not right.
// Exit status: 0 right result, 1 wrong result, 2 refused by the engine, others: a sanitizer.
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "cuda/device/async_copy.cuh"
#include "cuda/device/load.cuh"
#include "cuda/launch.h"
#include "harness.h"

namespace {

using namespace unmask;
using namespace unmask::cuda;
using programs::Array;

constexpr int kThreads = 64;

// Starts kernel(in, out) on one block unless told otherwise.
template <class Kernel>
void start(Kernel kernel, const Array<int>& in, const Array<int>& out, unsigned blocks = 1) {
  const Status status = launch("planted", kernel, {blocks, kThreads}, nullptr, in.get(), out.get());
  if (!status.ok()) std::abort();
}

Array<int> counting(int size = kThreads) {
  Array<int> numbers(size);
  for (int i = 0; i < size; ++i) numbers[i] = i;
  return numbers;
}

template <bool kPlanted>
__global__ void shared_bounds(int* in, int* out) {
  UNMASK_SHARED(box, int[kThreads]);
  const int slot = threadIdx.x + (kPlanted ? 1 : 0);
  box[slot] = in[threadIdx.x];
  out[threadIdx.x] = box[slot];
}
template <bool kPlanted>
bool run_shared_bounds() {
  Array<int> in = counting(), out(kThreads);
  start(shared_bounds<kPlanted>, in, out);
  return out == in;
}

template <bool kPlanted>
__global__ void global_bounds(int* in, int* out) {
  out[threadIdx.x + (kPlanted ? 1 : 0)] = in[threadIdx.x];
}
template <bool kPlanted>
bool run_global_bounds() {
  Array<int> in(kThreads), out(kThreads);
  start(global_bounds<kPlanted>, in, out);
  return out == in;
}

template <bool kPlanted>
__global__ void misaligned_load(int* in, int* out) {
  if (threadIdx.x == 0) out[0] = static_cast<int>(load_once(in + (kPlanted ? 1 : 0)).x);
}
template <bool kPlanted>
bool run_misaligned_load() {
  Array<int> in(kThreads, 7), out(1);
  start(misaligned_load<kPlanted>, in, out);
  return out[0] == 7;
}

// The first thread writes what all read.
template <bool kPlanted>
__global__ void missing_barrier(int* in, int* out) {
  UNMASK_SHARED(box, int);
  if (threadIdx.x == 0) box = in[1];
  if (!kPlanted) __syncthreads();
  out[threadIdx.x] = box;
}
template <bool kPlanted>
bool run_missing_barrier() {
  Array<int> in(kThreads, 5), out(kThreads);
  start(missing_barrier<kPlanted>, in, out);
  return out == in;
}

// Everyone moves its neighbour's value down in place.
template <bool kPlanted>
__global__ void shift_in_place(int* in, int* out) {
  UNMASK_SHARED(box, int[kThreads]);
  const int t = threadIdx.x;
  box[t] = in[t];
  __syncthreads();
  const int value = t > 0 ? box[t - 1] : -1;
  if (!kPlanted) __syncthreads();
  box[t] = value;
  __syncthreads();
  out[t] = box[t];
}
template <bool kPlanted>
bool run_shift_in_place() {
  Array<int> in = counting(), out(kThreads);
  start(shift_in_place<kPlanted>, in, out);
  for (int t = 0; t < kThreads; ++t)
    if (out[t] != t - 1) return false;
  return true;
}

// Bits of one word cleared by many threads.
template <bool kPlanted>
__global__ void lost_update(int* in, int* out) {
  UNMASK_SHARED(word, unsigned);
  if (threadIdx.x == 0) word = ~0u;
  __syncthreads();
  const unsigned keep = ~(1u << (threadIdx.x % 32));
  if (kPlanted)
    word = word & keep;
  else
    atomicAnd(&word, keep);
  __syncthreads();
  if (threadIdx.x == 0) out[0] = static_cast<int>(word) + in[0];
}
template <bool kPlanted>
bool run_lost_update() {
  Array<int> in = counting(), out(1, 1);
  start(lost_update<kPlanted>, in, out);
  return out[0] == 0;
}

template <bool kPlanted>
__global__ void blocks_collide(int* in, int* out) {
  __syncthreads();
  if (threadIdx.x != 0) return;
  if (kPlanted)
    out[0] += in[1];
  else
    atomicAdd(out, in[1]);
}
template <bool kPlanted>
bool run_blocks_collide() {
  Array<int> in = counting(), out(1);
  start(blocks_collide<kPlanted>, in, out, 4);
  return out[0] == 4;
}

template <bool kPlanted>
__global__ void divergent_barrier(int* in, int* out) {
  if (kPlanted && threadIdx.x < 32)
    __syncthreads();
  else
    __syncthreads();
  if (!kPlanted) __syncthreads();
  out[threadIdx.x] = in[threadIdx.x];
}
template <bool kPlanted>
bool run_divergent_barrier() {
  Array<int> in = counting(), out(kThreads);
  start(divergent_barrier<kPlanted>, in, out);
  return out == in;
}

// A reduction over slots, one of which nobody fills.
template <bool kPlanted>
__global__ void unwritten_slot(int* in, int* out) {
  UNMASK_SHARED(box, int[kThreads]);
  if (!kPlanted || threadIdx.x != 9) box[threadIdx.x] = in[threadIdx.x];
  __syncthreads();
  if (threadIdx.x != 0) return;
  int total = 0;
  for (int t = 0; t < kThreads; ++t) total += box[t];
  out[0] = total;
}
template <bool kPlanted>
bool run_unwritten_slot() {
  Array<int> in(kThreads), out(1, 1);
  start(unwritten_slot<kPlanted>, in, out);
  return out[0] == 0;
}

template <bool kPlanted>
__global__ void missing_wait(int* in, int* out) {
  UNMASK_SHARED(box, int[4 * kThreads]);
  copy_async_16(&box[4 * threadIdx.x], in + 4 * threadIdx.x, true);
  close_copy_group();
  if (!kPlanted) wait_for_copies<0>();
  __syncthreads();
  out[threadIdx.x] = box[(threadIdx.x + 1) % kThreads * 4];
}
template <bool kPlanted>
bool run_missing_wait() {
  Array<int> in(4 * kThreads, 3), out(kThreads);
  start(missing_wait<kPlanted>, in, out);
  return out == Array<int>(kThreads, 3);
}

// The next copy starts while other threads still read the last one.
template <bool kPlanted>
__global__ void early_copy(int* in, int* out) {
  UNMASK_SHARED(box, int[4 * kThreads]);
  int total = 0;
  for (int round = 0; round < 2; ++round) {
    copy_async_16(&box[4 * threadIdx.x], in + 4 * threadIdx.x, true);
    close_copy_group();
    wait_for_copies<0>();
    __syncthreads();
    total += box[(threadIdx.x + 7) % kThreads * 4];
    if (!kPlanted) __syncthreads();
  }
  out[threadIdx.x] = total;
}
template <bool kPlanted>
bool run_early_copy() {
  Array<int> in(4 * kThreads, 3), out(kThreads);
  start(early_copy<kPlanted>, in, out);
  return out == Array<int>(kThreads, 6);
}

// Lanes exchange through shared memory without saying so.
template <bool kPlanted>
__global__ void missing_syncwarp(int* in, int* out) {
  UNMASK_SHARED(box, int[kThreads]);
  const int t = threadIdx.x;
  box[t] = in[t];
  if (!kPlanted) __syncwarp();
  out[t] = box[t ^ 1];
}
template <bool kPlanted>
bool run_missing_syncwarp() {
  Array<int> in(kThreads, 2), out(kThreads);
  start(missing_syncwarp<kPlanted>, in, out);
  return out == in;
}

template <bool kPlanted>
__global__ void stranger_in_mask(int* in, int* out) {
  const unsigned mask = kPlanted && threadIdx.x % 32 >= 16 ? 0xffffu : 0xffffffffu;
  out[threadIdx.x] = __shfl_xor_sync(mask, in[threadIdx.x], 1);
}
template <bool kPlanted>
bool run_stranger_in_mask() {
  Array<int> in(kThreads, 2), out(kThreads);
  start(stranger_in_mask<kPlanted>, in, out);
  return out == in;
}

template <bool kPlanted>
__global__ void lane_left(int* in, int* out) {
  if (kPlanted && threadIdx.x == 3) return;
  out[threadIdx.x] = static_cast<int>(__ballot_sync(kWholeWarp, in[threadIdx.x]));
}
template <bool kPlanted>
bool run_lane_left() {
  Array<int> in(kThreads), out(kThreads, 1);
  start(lane_left<kPlanted>, in, out);
  return out == in;
}

template <bool kPlanted>
__global__ void deadlock(int* in, int* out) {
  if (kPlanted && threadIdx.x % 2) __syncthreads();
  __syncwarp();
  __syncthreads();
  out[threadIdx.x] = in[threadIdx.x];
}
template <bool kPlanted>
bool run_deadlock() {
  Array<int> in = counting(), out(kThreads);
  start(deadlock<kPlanted>, in, out);
  return out == in;
}

// Partial results, a fence, a ticket: the last block adds up.
template <bool kPlanted>
__global__ void last_block(int* in, int* out) {
  if (threadIdx.x != 0) return;
  const int blocks = static_cast<int>(gridDim.x);
  int *ticket = out + 1, *parts = out + 2;
  parts[blockIdx.x] = in[1];
  if (!kPlanted) __threadfence();
  if (atomicAdd(ticket, 1) != blocks - 1) return;
  if (!kPlanted) __threadfence();
  for (int block = 0; block < blocks; ++block) out[0] += parts[block];
}
template <bool kPlanted>
bool run_last_block() {
  Array<int> in = counting(), out(10);
  start(last_block<kPlanted>, in, out, 8);
  return out[0] == 8;
}

struct Case {
  const char* name;
  bool (*planted)();
  bool (*clean)();
};
#define CASE(name) {#name, run_##name<true>, run_##name<false>}
const Case kCases[] = {
    CASE(shared_bounds),     CASE(global_bounds), CASE(misaligned_load), CASE(missing_barrier),
    CASE(shift_in_place),    CASE(lost_update),   CASE(blocks_collide),  CASE(unwritten_slot),
    CASE(divergent_barrier), CASE(missing_wait),  CASE(early_copy),      CASE(missing_syncwarp),
    CASE(stranger_in_mask),  CASE(lane_left),     CASE(deadlock),        CASE(last_block),
};

int run(const Case& which, bool planted) {
  try {
    const bool right = planted ? which.planted() : which.clean();
    std::puts(right ? "right" : "wrong result");
    return right ? 0 : 1;
  } catch (const simt::Error& error) {
    std::puts(error.what());
    return 2;
  }
}

}  // namespace

int main(int count, char** words) {
  constexpr int kUsage = 64;
  if (count < 4) return kUsage;
  simt::Config& config = simt::config();
  if (std::strcmp(words[3], "descending") == 0) config.order = simt::Order::kDescending;
  if (std::strcmp(words[3], "random") == 0) config.order = simt::Order::kRandom;
  if (count > 4) config.seed = std::strtoull(words[4], nullptr, 10);

  const bool all = std::strcmp(words[1], "all") == 0;
  const bool planted = std::strcmp(words[2], "planted") == 0;
  int status = kUsage;
  for (const Case& known : kCases) {
    if (!all && std::strcmp(known.name, words[1]) != 0) continue;
    std::printf("%s: ", known.name);
    status = run(known, planted);
    if (status != 0) break;
  }
  return status;
}
