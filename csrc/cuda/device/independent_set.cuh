// The greedy independent set of one graph, taken by one block: exactly the sequential scan.
//
// Nodes are ranked by sorting (priority, index) in shared memory, then decided in panels of one
// rank per thread. A node whose row meets the set taken by earlier panels is out. Within a panel:
//   1. the first 32 ranks that are still candidates form a window;
//   2. the window's own 32 x 32 conflicts are gathered, one row per warp;
//   3. every warp resolves the window by rounds: a member is out when an earlier one that excludes
//      it is taken, and taken when all earlier ones that exclude it are out. The first undecided
//      member always decides, so this ends, and by induction it is the scan's answer;
//   4. the other candidates look for the newly taken nodes in their rows.
//
// Cost: each row is read once, and after that only the words of nodes that were taken; about
// |set| / 32 windows of three barriers each. Graphs of up to about 1000 nodes are copied into
// shared memory first. No global scratch, no atomics on global memory.
#pragma once

#include "cuda/device/bitset.cuh"
#include "cuda/device/ranking.cuh"

namespace unmask::cuda {

inline constexpr int kAtOnce = 4;  // loads under way before a thread waits for the first

// An odd stride: threads that look at the same word of neighbouring rows meet no bank twice.
constexpr int64_t resident_stride(int64_t nodes) { return words_for(nodes) | 1; }

constexpr int64_t resident_bytes(int64_t nodes) {
  return nodes * resident_stride(nodes) * static_cast<int64_t>(sizeof(uint32_t));
}

// The conflict rows of one graph, in shared memory or where the caller keeps them.
struct ConflictRows {
  const uint32_t* words;
  int stride;

  __device__ __forceinline__ const uint32_t* of(int node) const {
    return words + static_cast<int64_t>(node) * stride;
  }
};

// What the block shares; afterwards `taken` is the set.
struct IndependentSetScratch {
  uint32_t taken[kMaxNodes / kBitsPerWord];
  int window[kWarp];          // the members' nodes, by rank
  uint32_t excluders[kWarp];  // bit k of word m: member k excludes member m, and comes earlier
  int candidates[kMaxWarps];  // per warp
};

__device__ inline ConflictRows bring_near(const uint32_t* conflict, int nodes, int words,
                                          uint32_t* near) {
  const int stride = static_cast<int>(resident_stride(nodes));
  for (int row = warp_id(); row < nodes; row += blockDim.x / kWarp)
    for (int w = lane_id(); w < words; w += kWarp)
      near[row * stride + w] = conflict[row * words + w];
  return {near, stride};
}

// Moves the lowest bits of `left` into `bits`; when it has no more, the last one again.
__device__ __forceinline__ void take_bits(uint32_t& left, int (&bits)[kAtOnce]) {
  int bit = 0;
#pragma unroll
  for (int& taken : bits) {
    if (left != 0) bit = __ffs(static_cast<int>(left)) - 1;
    left &= left - 1;
    taken = bit;
  }
}

// Lane l of each warp brings one rank. Afterwards the ranks that met the taken set are no
// candidates any more. A warp reads kAtOnce rows together, each of them coalesced.
__device__ inline bool survives(const ConflictRows& rows, int words, const uint32_t* taken,
                                int node, bool candidate) {
  bool result = candidate;
  for (uint32_t left = __ballot_sync(kWholeWarp, candidate); left != 0;) {
    int lanes[kAtOnce], start[kAtOnce];
    uint32_t met[kAtOnce] = {};
    take_bits(left, lanes);
#pragma unroll
    for (int r = 0; r < kAtOnce; ++r)
      start[r] = __shfl_sync(kWholeWarp, node, lanes[r]) * rows.stride;
    for (int w = lane_id(); w < words; w += kWarp) {
      const uint32_t chosen = taken[w];
      if (chosen == 0) continue;
#pragma unroll
      for (int r = 0; r < kAtOnce; ++r) met[r] |= rows.words[start[r] + w] & chosen;
    }
#pragma unroll
    for (int r = 0; r < kAtOnce; ++r)
      if (__any_sync(kWholeWarp, met[r] != 0) && lanes[r] == lane_id()) result = false;
  }
  return result;
}

__device__ inline void gather_window(const ConflictRows& rows, int size,
                                     IndependentSetScratch& shared) {
  for (int member = warp_id(); member < size; member += blockDim.x / kWarp) {
    const bool earlier = lane_id() < member;
    const uint32_t* row = rows.of(shared.window[member]);
    const uint32_t excluders =
        __ballot_sync(kWholeWarp, earlier && has_bit(row, shared.window[lane_id()]));
    if (lane_id() == 0) shared.excluders[member] = excluders;
  }
}

// Which members are taken. Every warp finds the same answer by itself.
__device__ inline uint32_t resolve_window(const IndependentSetScratch& shared, int size) {
  const uint32_t excluders = lane_id() < size ? shared.excluders[lane_id()] : 0u;
  bool undecided = lane_id() < size;
  uint32_t taken = 0;
  while (const uint32_t waiting = __ballot_sync(kWholeWarp, undecided)) {
    const bool out = (excluders & taken) != 0;
    const bool in = undecided && !out && (excluders & waiting) == 0;
    taken |= __ballot_sync(kWholeWarp, in);
    undecided = undecided && !in && !out;
  }
  return taken;
}

__device__ inline bool meets(const uint32_t* row, const int* window, uint32_t newly_taken) {
  bool met = false;
  while (newly_taken != 0 && !met) {
    int members[kAtOnce];
    take_bits(newly_taken, members);
#pragma unroll
    for (const int member : members) met |= has_bit(row, window[member]);
  }
  return met;
}

// Decides the candidates of one panel, one per thread.
__device__ inline void decide_panel(const ConflictRows& rows, int node, bool candidate,
                                    IndependentSetScratch& shared) {
  for (;;) {
    const Standing standing = block_standing(candidate, shared.candidates);
    if (standing.total == 0) break;
    const bool member = candidate && standing.before < kWarp;
    if (member) shared.window[standing.before] = node;
    __syncthreads();

    const int size = min(standing.total, kWarp);
    gather_window(rows, size, shared);
    __syncthreads();

    const uint32_t taken = resolve_window(shared, size);
    if (member && taken >> standing.before & 1u) set_bit(shared.taken, node);
    candidate = candidate && !member && !meets(rows.of(node), shared.window, taken);
  }
  __syncthreads();  // everyone has read the counts: the next panel may write them
}

// Fills shared.taken; key_of(node) is a rank_key of its priority, or kNobody. `bytes` is the dynamic
// shared memory that independent_set_shape asked for. Ends with a barrier.
template <bool kResident, class KeyOf>
__device__ void take_independent_set(const int32_t* conflict, int nodes, unsigned char* bytes,
                                     IndependentSetScratch& shared, KeyOf key_of) {
  const int words = static_cast<int>(words_for(nodes));
  auto* keys = reinterpret_cast<uint64_t*>(bytes);
  ConflictRows rows{reinterpret_cast<const uint32_t*>(conflict), words};
  if (kResident)
    rows = bring_near(rows.words, nodes, words,
                      reinterpret_cast<uint32_t*>(bytes + ranking_bytes(nodes)));
  for (int w = threadIdx.x; w < words; w += blockDim.x) shared.taken[w] = 0;
  rank_nodes(nodes, keys, key_of);

  for (int first = 0; first < nodes && keys[first] != kNobody; first += blockDim.x) {
    const int rank = first + static_cast<int>(threadIdx.x);
    const uint64_t key = rank < nodes ? keys[rank] : kNobody;
    const int node = key == kNobody ? 0 : node_of(key);
    const bool exists = key != kNobody;
    const bool candidate = first == 0 ? exists : survives(rows, words, shared.taken, node, exists);
    decide_panel(rows, node, candidate, shared);
  }
}

// Dynamic shared memory for graphs of this size, and whether their rows fit into it beside
// `reserved` static bytes: take_independent_set<true> needs them there.
struct IndependentSetShape {
  size_t bytes;
  bool resident;
};

inline IndependentSetShape independent_set_shape(int64_t nodes, size_t reserved) {
  const int64_t ranking = ranking_bytes(nodes), rows = resident_bytes(nodes);
  const bool fits = ranking + rows <= kSharedBytes - static_cast<int64_t>(reserved);
  return {static_cast<size_t>(ranking + (fits ? rows : 0)), fits};
}

}  // namespace unmask::cuda
