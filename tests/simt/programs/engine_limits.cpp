// What the engine refuses, what state a block starts with, and in which order threads run.
#include "cuda/device/async_copy.cuh"
#include "cuda/launch.h"
#include "harness.h"

namespace {

using namespace unmask::cuda;
using programs::Array;
using programs::contains;
using programs::refusal_of;

__global__ void nothing() {}

__global__ void use_shared(int* out) {
  UNMASK_SHARED(words, unsigned[4]);
  UNMASK_DYNAMIC_SHARED(bytes);
  out[blockIdx.x] = words[3] == 0xffffffffu && bytes[blockIdx.x] == 0xff;
  words[3] = 0;  // must not reach the next block
  bytes[blockIdx.x] = 0;
}

__global__ void too_much_static() {
  UNMASK_SHARED(words, int[12289]);
  words[0] = 0;
}

__global__ void never_ending() {
  for (;;) __syncthreads();
}

__global__ void record_order(unsigned* next, unsigned* out) {
  out[atomicAdd(next, 1u)] = blockIdx.x * blockDim.x + threadIdx.x;
}

__global__ void wrong_barrier(int* flag) {
  if (threadIdx.x % 2)
    *flag = __syncthreads_or(1);
  else
    *flag = __syncthreads_and(1);
}

__global__ void different_operations(int* out) {
  if (threadIdx.x % 2)
    out[0] = static_cast<int>(__ballot_sync(kWholeWarp, 1));
  else
    out[0] = __shfl_sync(kWholeWarp, 1, 0);
}

__global__ void copy_misaligned(const char* in) {
  UNMASK_SHARED(bytes, char[64]);
  copy_async_16(bytes + 8, in, true);
}

__global__ void copy_in_groups(const int* in, int* out) {
  UNMASK_SHARED(words, int[8]);
  copy_async_16(&words[0], in, true);
  close_copy_group();
  copy_async_16(&words[4], in + 4, false);  // zero-filled
  close_copy_group();
  wait_for_copies<1>();
  for (int i = 0; i < 8; ++i) out[i] = words[i];  // the second group is still on its way
  wait_for_copies<0>();
  for (int i = 0; i < 8; ++i) out[8 + i] = words[i];
}

simt::Launch shape(dim3 grid, dim3 block, size_t shared_bytes = 0) {
  return {"test", nullptr, grid, block, shared_bytes, nullptr};
}

std::string refusal_of_shape(const simt::Launch& launch) {
  return refusal_of([&] { simt::launch(launch, [] {}); });
}

template <class Kernel, class... Arguments>
std::string refusal_of_kernel(Kernel kernel, unsigned threads, Arguments... arguments) {
  return refusal_of(
      [&] { REQUIRE(launch("test", kernel, {1, threads}, nullptr, arguments...).ok()); });
}

}  // namespace

SIMT_TEST(impossible_launches_are_refused) {
  REQUIRE(contains(refusal_of_shape(shape(1, 1025)), "a block of 1025 threads"));
  REQUIRE(contains(refusal_of_shape(shape(1, 0)), "a block of 0 threads"));
  REQUIRE(contains(refusal_of_shape(shape(1, {1, 1, 65})), "cannot be launched"));
  REQUIRE(contains(refusal_of_shape(shape(0, 32)), "a grid of 0 x 1 x 1 blocks"));
  REQUIRE(contains(refusal_of_shape(shape({1, 65536}, 32)), "cannot be launched"));
  REQUIRE(contains(refusal_of_shape(shape(1, 32, 49153)), "asked for with cudaFuncSetAttribute"));
  REQUIRE(refusal_of_shape(shape({2, 3, 4}, {4, 4, 4})).empty());
}

SIMT_TEST(shared_memory_has_limits) {
  REQUIRE(!launch("test", nothing, {1, 32, 163 * 1024 + 1}, nullptr).ok());
  REQUIRE(launch("test", nothing, {1, 32, 163 * 1024}, nullptr).ok());
  const std::string refusal = refusal_of_kernel(too_much_static, 32);
  REQUIRE(contains(refusal, "static shared memory of 49156 bytes"));
}

SIMT_TEST(every_block_starts_with_poisoned_shared_memory) {
  constexpr int kBlocks = 5;
  Array<int> out(kBlocks);
  REQUIRE(launch("test", use_shared, {kBlocks, 1, 16}, nullptr, out.get()).ok());
  for (int block = 0; block < kBlocks; ++block) REQUIRE(out[block] == 1);
}

SIMT_TEST(misuse_is_named_with_its_line) {
  Array<int> out(1);
  REQUIRE(contains(refusal_of_kernel(wrong_barrier, 32, out.get()), "divergent barrier"));
  REQUIRE(contains(refusal_of_kernel(wrong_barrier, 32, out.get()), "engine_limits.cpp:"));
  REQUIRE(contains(refusal_of_kernel(different_operations, 32, out.get()), "divergent warp"));
  const Array<char> in(64);
  REQUIRE(contains(refusal_of_kernel(copy_misaligned, 1, in.get()), "cp.async to a misaligned"));
  simt::config().max_switches = 1000;
  REQUIRE(contains(refusal_of_kernel(never_ending, 32), "does not finish"));
  simt::config().max_switches = simt::Config{}.max_switches;
  REQUIRE(launch("test", nothing, {1, 64}, nullptr).ok());  // the engine is as good as new
}

SIMT_TEST(copies_land_group_by_group) {
  Array<int> in(8, 3), out(16);
  REQUIRE(launch("test", copy_in_groups, {1, 1}, nullptr, in.get(), out.get()).ok());
  for (int i = 0; i < 4; ++i) REQUIRE(out[i] == 3 && out[4 + i] == -1);
  for (int i = 0; i < 4; ++i) REQUIRE(out[8 + i] == 3 && out[12 + i] == 0);
}

SIMT_TEST(threads_and_blocks_run_in_the_order_asked_for) {
  constexpr unsigned kBlocks = 7, kThreads = 40, kAll = kBlocks * kThreads;
  Array<unsigned> next(1), out(kAll), seen(kAll);
  REQUIRE(launch("test", record_order, {kBlocks, kThreads}, nullptr, next.get(), out.get()).ok());
  bool ascending = true, descending = true;
  for (unsigned i = 0; i < kAll; ++i) {
    ascending = ascending && out[i] == i;
    descending = descending && out[i] == kAll - 1 - i;
    ++seen[out[i]];
  }
  for (unsigned i = 0; i < kAll; ++i) REQUIRE(seen[i] == 1);
  const simt::Order order = simt::config().order;
  REQUIRE(ascending == (order == simt::Order::kAscending));
  REQUIRE(descending == (order == simt::Order::kDescending));
}
