// What warps and blocks do together, and the tensor-core instructions, against plain loops.
#include <cmath>

#include "cuda/device/async_copy.cuh"
#include "cuda/device/bitset.cuh"
#include "cuda/device/load.cuh"
#include "cuda/device/matrix.cuh"
#include "cuda/device/reduce.cuh"
#include "cuda/device/sort.cuh"
#include "cuda/launch.h"
#include "harness.h"

namespace {

using namespace unmask;
using namespace unmask::cuda;
using programs::Array;

template <class Kernel, class... Arguments>
void start(Kernel kernel, LaunchShape shape, Arguments... arguments) {
  REQUIRE(launch("test", kernel, shape, nullptr, arguments...).ok());
}

struct Shuffled {
  int index, up, down, exclusive_or, narrow;
  float real;
  unsigned long long wide;
};

__global__ void shuffle(Shuffled* out) {
  const int lane = lane_id();
  out[lane].index = __shfl_sync(kWholeWarp, lane, lane * 7);
  out[lane].up = __shfl_up_sync(kWholeWarp, lane, 3);
  out[lane].down = __shfl_down_sync(kWholeWarp, lane, 3);
  out[lane].exclusive_or = __shfl_xor_sync(kWholeWarp, lane, 5);
  out[lane].narrow = __shfl_down_sync(kWholeWarp, lane, 3, 8);
  out[lane].real = __shfl_sync(kWholeWarp, lane + 0.5f, 9);
  out[lane].wide = __shfl_sync(kWholeWarp, 1ull << 40 | lane, 31);
}

__global__ void vote(unsigned* out) {
  const int lane = lane_id();
  const unsigned odd = 0xaaaaaaaau;
  unsigned seen[8] = {};
  if (lane % 2) {  // half of the warp on its own
    seen[0] = __ballot_sync(odd, lane > 20);
    seen[1] = __any_sync(odd, lane == 31);
    seen[2] = __all_sync(odd, lane > 0);
    seen[3] = __activemask();
  }
  out[32 + lane] = __match_any_sync(kWholeWarp, lane % 3);
  seen[4] = static_cast<unsigned>(-__reduce_min_sync(kWholeWarp, lane - 16));
  seen[5] = __reduce_max_sync(kWholeWarp, static_cast<unsigned>(lane));
  seen[6] = __reduce_add_sync(kWholeWarp, static_cast<unsigned>(lane));
  seen[7] = __reduce_or_sync(kWholeWarp, 1u << lane);
  if (lane == 31)
    for (int i = 0; i < 8; ++i) out[i] = seen[i];
}

__global__ void block_votes(int* out) {
  const int t = threadIdx.x;
  if (t >= 70) return;  // threads that are gone do not hold up a barrier
  out[t * 3] = __syncthreads_count(t % 10 == 0);
  out[t * 3 + 1] = __syncthreads_or(t == 69);
  out[t * 3 + 2] = __syncthreads_and(t < 69);
}

__global__ void reduce(const float* in, float* out, int* standing) {
  UNMASK_SHARED(sums, float[kMaxWarps]);
  UNMASK_SHARED(maxima, float[kMaxWarps]);
  UNMASK_SHARED(counts, int[kMaxWarps]);
  const float value = in[threadIdx.x];
  const float sum = block_sum(value, sums), maximum = block_max(value, maxima);
  const Standing mine = block_standing(value > 0.5f, counts);
  standing[threadIdx.x] = mine.before;
  if (threadIdx.x == 0) {
    out[0] = sum;
    out[1] = maximum;
    standing[blockDim.x] = mine.total;
  }
}

__global__ void sort(const uint64_t* in, uint64_t* out, int capacity) {
  UNMASK_DYNAMIC_SHARED(bytes);
  auto* keys = reinterpret_cast<uint64_t*>(bytes);
  for (int i = threadIdx.x; i < capacity; i += blockDim.x) keys[i] = in[i];
  __syncthreads();
  sort_ascending(keys, capacity);
  for (int i = threadIdx.x; i < capacity; i += blockDim.x) out[i] = keys[i];
}

// c[16 x 8] = a[16 x 16] . b[8 x 16]^T, both copied in and brought to registers by ldmatrix.
template <class T>
__global__ void multiply(const T* a, const T* b, float* c) {
  UNMASK_SHARED(tile_a, T[16 * 16]);
  UNMASK_SHARED(tile_b, T[8 * 16]);
  const int lane = lane_id();
  copy_async_16(&tile_a[lane * 8], a + lane * 8, true);
  if (lane < 16) copy_async_16(&tile_b[lane * 8], b + lane * 8, true);
  close_copy_group();
  wait_for_copies<0>();
  __syncwarp();
  uint32_t fragment_a[4], fragment_b[2];
  load_matrices(fragment_a, &tile_a[lane % 16 * 16 + lane / 16 * 8]);
  load_matrices(fragment_b, &tile_b[lane % 8 * 16 + lane / 8 % 2 * 8]);
  float sums[4] = {};
  multiply_add<T>(sums, fragment_a, fragment_b);
  for (int i = 0; i < 4; ++i) c[(lane / 4 + i / 2 * 8) * 8 + lane % 4 * 2 + i % 2] = sums[i];
}

__global__ void transpose(const BFloat16* in, BFloat16* out) {
  UNMASK_SHARED(tile, BFloat16[8 * 16]);
  const int lane = lane_id();
  for (int i = lane; i < 8 * 16; i += kWarp) tile[i] = in[i];
  __syncwarp();
  uint32_t pairs[2];
  load_matrices_transposed(pairs, &tile[lane % 8 * 16 + lane / 8 % 2 * 8]);
  for (int m = 0; m < 2; ++m)
    for (int i = 0; i < 2; ++i)
      out[(8 * m + lane / 4) * 8 + lane % 4 * 2 + i].bits =
          static_cast<uint16_t>(pairs[m] >> (16 * i));
}

template <class T>
__global__ void load(const T* in, float* out) {
  float values[kPerLoad<T>];
  load_floats(in + threadIdx.x * kPerLoad<T>, values);
  for (int i = 0; i < kPerLoad<T>; ++i) out[threadIdx.x * kPerLoad<T> + i] = values[i];
}

}  // namespace

SIMT_TEST(shuffles_move_values_between_lanes) {
  Array<Shuffled> out(kWarp);
  start(shuffle, {1, kWarp}, out.get());
  for (int lane = 0; lane < kWarp; ++lane) {
    REQUIRE(out[lane].index == lane * 7 % kWarp);
    REQUIRE(out[lane].up == (lane < 3 ? lane : lane - 3));
    REQUIRE(out[lane].down == (lane > 28 ? lane : lane + 3));
    REQUIRE(out[lane].exclusive_or == (lane ^ 5));
    REQUIRE(out[lane].narrow == (lane % 8 > 4 ? lane : lane + 3));
    REQUIRE(out[lane].real == 9.5f);
    REQUIRE(out[lane].wide == (1ull << 40 | 31));
  }
}

SIMT_TEST(votes_see_the_lanes_of_their_mask) {
  Array<unsigned> out(64);
  start(vote, {1, kWarp}, out.get());
  REQUIRE(out[0] == (0xaaaaaaaau & ~((1u << 21) - 1)));
  REQUIRE(out[1] == 1 && out[2] == 1 && out[3] == kWholeWarp && out[4] == 16);
  REQUIRE(out[5] == 31 && out[6] == 496 && out[7] == kWholeWarp);
  for (int lane = 0; lane < kWarp; ++lane)
    for (int other = 0; other < kWarp; ++other)
      REQUIRE((out[32 + lane] >> other & 1) == (lane % 3 == other % 3));
}

SIMT_TEST(barriers_count_the_threads_that_are_left) {
  Array<int> out(70 * 3);
  start(block_votes, {1, 96}, out.get());
  for (int t = 0; t < 70; ++t)
    REQUIRE(out[t * 3] == 7 && out[t * 3 + 1] == 1 && out[t * 3 + 2] == 0);
}

SIMT_TEST(reductions_run_in_the_stated_order) {
  constexpr int kThreads = 128;
  programs::Random random(3);
  Array<float> in(kThreads), out(2);
  Array<int> standing(kThreads + 1);
  for (int t = 0; t < kThreads; ++t) in[t] = static_cast<float>(programs::uniform(random));
  start(reduce, {1, kThreads}, in.get(), out.get(), standing.get());

  float total = 0, maximum = 0;
  int before = 0;
  for (int warp = 0; warp < kThreads / kWarp; ++warp) {
    float lanes[kWarp];
    for (int lane = 0; lane < kWarp; ++lane) lanes[lane] = in[warp * kWarp + lane];
    for (int distance = kWarp / 2; distance > 0; distance /= 2)
      for (int lane = 0; lane < distance; ++lane) lanes[lane] += lanes[lane + distance];
    total = warp == 0 ? lanes[0] : total + lanes[0];
  }
  for (int t = 0; t < kThreads; ++t) {
    REQUIRE(standing[t] == before);
    before += in[t] > 0.5f;
    maximum = std::max(maximum, in[t]);
  }
  REQUIRE(out[0] == total && out[1] == maximum && standing[kThreads] == before);
}

SIMT_TEST(the_block_sort_sorts) {
  programs::Random random(5);
  for (const int threads : {32, 96, 128})
    for (const int capacity : {64, 128, 512}) {
      Array<uint64_t> in(capacity), out(capacity);
      for (int i = 0; i < capacity; ++i) in[i] = random() % 400 << 32 | i;
      const LaunchShape shape{1, static_cast<unsigned>(threads), capacity * sizeof(uint64_t)};
      start(sort, shape, in.get(), out.get(), capacity);
      std::sort(in.get(), in.get() + capacity);
      REQUIRE(out == in);
    }
}

template <class T>
void multiply_small_numbers(uint16_t (*encode)(int)) {
  Array<T> a(16 * 16), b(8 * 16);
  Array<float> c(16 * 8);
  programs::Random random(7);
  Array<int> plain_a(16 * 16), plain_b(8 * 16);
  for (int i = 0; i < 16 * 16; ++i) a[i].bits = encode(plain_a[i] = random() % 9 - 4);
  for (int i = 0; i < 8 * 16; ++i) b[i].bits = encode(plain_b[i] = random() % 9 - 4);
  start(multiply<T>, {1, kWarp}, a.get(), b.get(), c.get());
  for (int row = 0; row < 16; ++row)
    for (int column = 0; column < 8; ++column) {
      int sum = 0;
      for (int k = 0; k < 16; ++k) sum += plain_a[row * 16 + k] * plain_b[column * 16 + k];
      REQUIRE(c[row * 8 + column] == static_cast<float>(sum));
    }
}

uint16_t bfloat16_of(int value) {
  const auto wide = static_cast<float>(value);
  return static_cast<uint16_t>(simt::bit_copy<uint32_t>(wide) >> 16);
}

uint16_t float16_of(int value) {  // exact for |value| <= 4
  constexpr uint16_t kMagnitudes[] = {0x0000, 0x3c00, 0x4000, 0x4200, 0x4400};
  return static_cast<uint16_t>(kMagnitudes[value < 0 ? -value : value] | (value < 0 ? 0x8000 : 0));
}

SIMT_TEST(tensor_cores_multiply) {
  multiply_small_numbers<BFloat16>(bfloat16_of);
  multiply_small_numbers<Float16>(float16_of);
}

SIMT_TEST(matrices_load_transposed) {
  Array<BFloat16> in(8 * 16), out(16 * 8);
  for (int i = 0; i < 8 * 16; ++i) in[i].bits = static_cast<uint16_t>(i);
  start(transpose, {1, kWarp}, in.get(), out.get());
  for (int row = 0; row < 8; ++row)
    for (int column = 0; column < 16; ++column)
      REQUIRE(out[column * 8 + row].bits == in[row * 16 + column].bits);
}

SIMT_TEST(loads_widen_every_type) {
  Array<float> floats(8, -1.5f), out(16);
  start(load<float>, {1, 2}, floats.get(), out.get());
  REQUIRE(out[0] == -1.5f && out[7] == -1.5f);
  Array<Float16> halves(16);
  const uint16_t special[] = {0x0001, 0x03ff, 0x0400, 0x7bff, 0x7c00, 0xfc00, 0x7e00, 0x8000};
  for (int i = 0; i < 16; ++i) halves[i].bits = special[i % 8];
  start(load<Float16>, {1, 2}, halves.get(), out.get());
  REQUIRE(out[0] == 0x1p-24f && out[1] == 1023 * 0x1p-24f && out[2] == 0x1p-14f);
  REQUIRE(out[3] == 65504.0f && out[4] == INFINITY && out[13] == -INFINITY);
  REQUIRE(std::isnan(out[6]) && out[15] == 0.0f && std::signbit(out[15]));
}
