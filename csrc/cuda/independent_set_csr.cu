// The greedy independent set of one large sparse graph: exactly the scan's, without a sort.
//
//   in   indptr    [nodes + 1], indices [entries]  row i: who, once taken, excludes i
//   in   priority  [nodes], eligible [nodes] or null
//   out  selected  [nodes]
//
// A node is out as soon as an earlier one in its row is taken, and taken once all earlier ones in
// its row are out. The earliest undecided node can always be decided, and what is decided stays, so
// that any order of looking ends in the one answer of the scan.
//
//   1. prepare: a node's state is its place in the order, until it becomes kTaken or kExcluded.
//   2. up to kRounds launches: a thread per node walks its row from where the last walk stopped, up
//      to the first undecided neighbour. A block goes on while any of its nodes is decided. Blocks
//      do not wait for each other, but see what others have decided meanwhile. Chains in random
//      graphs grow with the logarithm of the nodes, and end here.
//   3. finish: what depends on a longer chain is left to one block and a queue. A node that meets
//      an undecided neighbour parks with it, and comes back once that one is decided.
//
// Cost: 4 bytes per entry and one gather of 4 bytes from the L2 cache, once for each entry passed
// and again for those that a walk sees behind its first undecided neighbour; 24 bytes per node. A
// row of more than 32 entries has a warp to itself. The queue takes two barriers for each link of
// the longest chain, whatever the graph.
#include "unmask/independent_set_csr.h"

#include <algorithm>

#include "core/float_order.h"
#include "cuda/device/relaxed.cuh"
#include "cuda/launch.h"

namespace unmask::cuda {
namespace {

constexpr int kNodesPerBlock = 512;
constexpr unsigned kRounds = 16;
constexpr int kPerLane = 4;  // entries of a long row that a lane looks at in one go

// States: these two, or the key of an undecided node. Smaller keys come earlier; the smallest, of
// +inf, is above both.
constexpr uint32_t kTaken = 0;
constexpr uint32_t kExcluded = 1;

constexpr int32_t kNobody = -1;

__device__ __forceinline__ uint32_t key_of(float priority) { return ~order_key(priority); }
__device__ __forceinline__ bool decided(uint32_t state) { return state <= kExcluded; }

template <class Offset>
struct Graph {
  const Offset* indptr;
  const int32_t* indices;
  const float* priority;
  bool* selected;
  int64_t nodes;
  int64_t entries;
  uint32_t* state;      // [nodes]
  uint32_t* passed;     // [nodes]  entries of the row that no longer matter
  int32_t* parked;      // [nodes]  the node that parked here last; of undecided nodes, in `finish`
  int32_t* next;        // [nodes]  the one that parked before
  int32_t* queue;       // [nodes]  a ring
  uint32_t* undecided;  // [words_for(nodes)]  as bits, between kernels

  explicit Graph(const IndependentSetCsrArgs& args)
      : indptr(static_cast<const Offset*>(args.indptr)),
        indices(args.indices),
        priority(args.priority),
        selected(args.selected),
        nodes(args.nodes),
        entries(args.entries),
        state(static_cast<uint32_t*>(args.workspace)),
        passed(state + nodes),
        parked(reinterpret_cast<int32_t*>(passed + nodes)),
        next(parked + nodes),
        queue(next + nodes),
        undecided(reinterpret_cast<uint32_t*>(queue + nodes)) {}
};

// An undecided node and what is left of its row.
struct Visit {
  int64_t begin, at, end;
  int32_t node;
  int32_t blocker;  // the undecided neighbour at `at`, or kNobody before the first walk
  uint32_t key;
};

// A row outside [0, entries] is no row: nothing on the device can complain about it.
template <class Offset>
__device__ Visit visit_of(const Graph<Offset>& graph, int64_t node) {
  const int64_t begin = graph.indptr[node], end = graph.indptr[node + 1];
  Visit result{0, 0, 0, static_cast<int32_t>(node), kNobody, load_relaxed(&graph.state[node])};
  if (begin < 0 || begin > end || end > graph.entries) return result;
  result.begin = begin;
  result.at = begin + graph.passed[node];
  result.end = end;
  return result;
}

template <class Offset>
__device__ void remember(const Graph<Offset>& graph, const Visit& visit) {
  const int64_t passed = visit.at - visit.begin;
  graph.passed[visit.node] = static_cast<uint32_t>(min(passed, int64_t{0xffffffff}));
}

// What neighbour j means to the visited node: kExcluded, its key if it must be waited for, or
// kTaken if it does not stand in the way.
template <class Offset>
__device__ __forceinline__ uint32_t look_at(const Graph<Offset>& graph, const Visit& visit,
                                            int32_t j) {
  if (static_cast<uint32_t>(j) >= graph.nodes) return kTaken;
  const uint32_t state = load_relaxed(&graph.state[j]);
  if (state == kExcluded) return kTaken;
  const uint32_t key = state == kTaken ? key_of(graph.priority[j]) : state;
  const bool earlier = key < visit.key || (key == visit.key && j < visit.node);
  if (!earlier) return kTaken;
  return state == kTaken ? kExcluded : key;
}

// A thread walks a short row. It looks on behind the first undecided neighbour, because a taken one
// decides at once. Returns the node's new state.
template <class Offset>
__device__ uint32_t walk_alone(const Graph<Offset>& graph, Visit& visit) {
  int64_t first = visit.end;
  for (int64_t at = visit.at; at < visit.end; ++at) {
    const int32_t j = graph.indices[at];
    const uint32_t met = look_at(graph, visit, j);
    if (met == kExcluded) return kExcluded;
    if (met == kTaken || first < visit.end) continue;
    first = at;
    visit.blocker = j;
  }
  visit.at = first;
  return first < visit.end ? visit.key : kTaken;
}

// A warp walks a long row; all lanes bring the same visit. The same, but it stops looking behind
// the piece of the row that holds an undecided neighbour.
template <class Offset>
__device__ uint32_t walk_together(const Graph<Offset>& graph, Visit& visit) {
  constexpr int kPiece = kPerLane * kWarp;
  for (; visit.at < visit.end; visit.at += kPiece) {
    bool excluded = false;
    unsigned first = kPiece;
#pragma unroll
    for (int k = kPerLane - 1; k >= 0; --k) {
      const int offset = k * kWarp + lane_id();
      if (visit.at + offset >= visit.end) continue;
      const uint32_t met = look_at(graph, visit, graph.indices[visit.at + offset]);
      if (met == kExcluded) excluded = true;
      if (!decided(met)) first = static_cast<unsigned>(offset);
    }
    if (__any_sync(kWholeWarp, excluded)) return kExcluded;
    first = __reduce_min_sync(kWholeWarp, first);
    if (first == kPiece) continue;
    visit.at += first;
    visit.blocker = graph.indices[visit.at];
    return visit.key;
  }
  return kTaken;
}

// All lanes of the warp call it. Returns the node's new state, or its key if not `asking`.
template <class Offset>
__device__ uint32_t walk(const Graph<Offset>& graph, Visit& visit, bool asking) {
  const bool is_long = asking && visit.end - visit.at > kWarp;
  uint32_t state = asking && !is_long ? walk_alone(graph, visit) : visit.key;
  for (uint32_t left = __ballot_sync(kWholeWarp, is_long); left != 0; left &= left - 1) {
    const int lane = __ffs(static_cast<int>(left)) - 1;
    Visit theirs{};
    theirs.at = __shfl_sync(kWholeWarp, visit.at, lane);
    theirs.end = __shfl_sync(kWholeWarp, visit.end, lane);
    theirs.node = __shfl_sync(kWholeWarp, visit.node, lane);
    theirs.key = __shfl_sync(kWholeWarp, visit.key, lane);
    const uint32_t answer = walk_together(graph, theirs);
    if (lane != lane_id()) continue;
    visit.at = theirs.at;
    visit.blocker = theirs.blocker;
    state = answer;
  }
  return state;
}

template <class Offset>
__device__ __forceinline__ void settle(const Graph<Offset>& graph, int32_t node, uint32_t state) {
  store_relaxed(&graph.state[node], state);
  graph.selected[node] = state == kTaken;
}

template <class Offset>
__global__ void __launch_bounds__(kNodesPerBlock)
    prepare_kernel(const Graph<Offset> graph, const bool* eligible) {
  const int64_t node = int64_t{blockIdx.x} * kNodesPerBlock + threadIdx.x;
  const bool exists = node < graph.nodes;
  const bool undecided = exists && (eligible == nullptr || eligible[node]);
  if (exists) {
    graph.state[node] = undecided ? key_of(graph.priority[node]) : kExcluded;
    graph.passed[node] = 0;
    if (!undecided) graph.selected[node] = false;
  }
  const uint32_t bits = __ballot_sync(kWholeWarp, undecided);
  if (exists && lane_id() == 0) graph.undecided[node / kBitsPerWord] = bits;
}

template <class Offset>
__global__ void __launch_bounds__(kNodesPerBlock) round_kernel(const Graph<Offset> graph) {
  const int64_t node = int64_t{blockIdx.x} * kNodesPerBlock + threadIdx.x;
  const bool exists = node < graph.nodes;
  const uint32_t bits = exists ? graph.undecided[node / kBitsPerWord] : 0;
  bool undecided = bits >> lane_id() & 1u;
  if (!__syncthreads_or(undecided)) return;

  Visit mine{};
  mine.blocker = kNobody;
  if (undecided) mine = visit_of(graph, node);
  bool progress;
  do {
    const bool asking =
        undecided && (mine.blocker == kNobody || decided(load_relaxed(&graph.state[mine.blocker])));
    const uint32_t state = walk(graph, mine, asking);
    progress = undecided && decided(state);
    if (progress) {
      settle(graph, mine.node, state);
      undecided = false;
    }
  } while (__syncthreads_or(progress));

  if (undecided) remember(graph, mine);
  const uint32_t left = __ballot_sync(kWholeWarp, undecided);
  if (exists && lane_id() == 0) graph.undecided[node / kBitsPerWord] = left;
}

// One block. Every undecided node is in the queue, once, or parked with an undecided neighbour that
// comes earlier; so the queue is empty only when all are decided.
template <class Offset>
__global__ void __launch_bounds__(kMaxBlock) finish_kernel(const Graph<Offset> graph) {
  UNMASK_SHARED(appended, int[2]);  // used in turn
  if (threadIdx.x < 2) appended[threadIdx.x] = 0;
  __syncthreads();

  for (int64_t w = threadIdx.x; w < words_for(graph.nodes); w += blockDim.x)
    for (uint32_t bits = graph.undecided[w]; bits != 0; bits &= bits - 1) {
      const int64_t node = w * kBitsPerWord + __ffs(static_cast<int>(bits)) - 1;
      graph.parked[node] = kNobody;
      graph.queue[atomicAdd(&appended[0], 1)] = static_cast<int32_t>(node);
    }
  __syncthreads();

  const auto wrapped = [&](int64_t slot) { return slot < graph.nodes ? slot : slot - graph.nodes; };
  int64_t first = 0, size = appended[0];
  for (int turn = 1; size > 0; turn ^= 1) {
    const int64_t count = min(size, int64_t{blockDim.x});
    const bool exists = threadIdx.x < count;
    Visit mine{};
    if (exists) mine = visit_of(graph, graph.queue[wrapped(first + threadIdx.x)]);
    const uint32_t state = walk(graph, mine, exists);
    if (exists && decided(state)) settle(graph, mine.node, state);
    __syncthreads();

    if (threadIdx.x == 0) appended[turn ^ 1] = 0;
    const int64_t end = wrapped(first + size);
    const auto append = [&](int32_t node) {
      graph.queue[wrapped(end + atomicAdd(&appended[turn], 1))] = node;
    };
    if (exists && decided(state)) {
      for (int32_t node = graph.parked[mine.node]; node != kNobody; node = graph.next[node])
        append(node);
    } else if (exists) {
      remember(graph, mine);
      if (decided(load_relaxed(&graph.state[mine.blocker])))
        append(mine.node);  // decided in this turn: too late to park there
      else
        graph.next[mine.node] = atomicExch(&graph.parked[mine.blocker], mine.node);
    }
    __syncthreads();
    first = wrapped(first + count);
    size += appended[turn] - count;
  }
}

template <class Offset>
Status run(const IndependentSetCsrArgs& args, Stream stream) {
  const Graph<Offset> graph(args);
  const auto blocks = static_cast<unsigned>((args.nodes + kNodesPerBlock - 1) / kNodesPerBlock);
  const LaunchShape shape{blocks, threads_for(args.nodes, kNodesPerBlock)};
  const unsigned rounds = std::min(blocks, kRounds);  // one block needs no second

  const auto start = [&](auto kernel, const auto&... arguments) {
    return launch("independent_set_csr", kernel, shape, stream, arguments...);
  };
  if (Status status = start(prepare_kernel<Offset>, graph, args.eligible); !status.ok())
    return status;
  for (unsigned round = 0; round < rounds; ++round)
    if (Status status = start(round_kernel<Offset>, graph); !status.ok()) return status;
  if (blocks == 1) return Status::success();
  return launch("independent_set_csr", finish_kernel<Offset>, {1, kMaxBlock}, stream, graph);
}

}  // namespace

Status independent_set_csr(const IndependentSetCsrArgs& args, Stream stream) {
  if (Status status = validate(args); !status.ok()) return status;
  if (args.nodes == 0) return Status::success();
  return args.indptr_type == DType::kInt64 ? run<int64_t>(args, stream)
                                           : run<int32_t>(args, stream);
}

}  // namespace unmask::cuda
