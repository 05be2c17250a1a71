// Where threads of a block meet, what they share, and when copies land.
#include "engine.h"

#include <cstring>
#include <new>

#include "block_run.h"

namespace simt {
namespace {

void fold(BlockRun& run, Barrier kind, bool predicate) {
  switch (kind) {
    case Barrier::kPlain: break;
    case Barrier::kOr: run.barrier_value |= predicate; break;
    case Barrier::kAnd: run.barrier_value &= predicate; break;
    case Barrier::kCount: run.barrier_value += predicate; break;
  }
}

bool same_place(const Location& a, const Location& b) {
  return a.line() == b.line() && std::strcmp(a.file_name(), b.file_name()) == 0;
}

// A lane that is gone, or was never there, cannot arrive.
void require_lanes(BlockRun& run, const SimThread& me, const WarpOperation& operation,
                   uint32_t mask, const Location& at) {
  const int first = static_cast<int>(me.view.linear - me.view.lane);
  for (int lane = 0; lane < kLanes; ++lane) {
    if (!(mask >> lane & 1)) continue;
    const bool exists = first + lane < run.size;
    if (exists && run.threads[first + lane].state != State::kDone) continue;
    run.fail(std::string(operation.name) + " at " + text(at) + ": the mask names lane " +
             std::to_string(lane) + ", which " + (exists ? "has exited" : "does not exist"));
  }
}

// Disjoint groups of one warp may meet at the same time, each under its own mask.
Meeting& meeting_of(BlockRun& run, const SimThread& me, const WarpOperation& operation,
                    uint32_t mask, const Location& at) {
  Meeting* const warp = &run.meetings[me.view.warp * kLanes];
  Meeting* unused = nullptr;
  for (int m = 0; m < kLanes; ++m) {
    if (warp[m].arrived && warp[m].mask == mask) {
      if (warp[m].operation != &operation)
        run.fail(std::string("divergent warp: ") + operation.name + " at " + text(at) +
                 " while other lanes are in " + warp[m].operation->name + " at " +
                 text(warp[m].at));
      return warp[m];
    }
    if (!warp[m].arrived && unused == nullptr) unused = &warp[m];
  }
  require_lanes(run, me, operation, mask, at);
  unused->operation = &operation;
  unused->mask = mask;
  unused->at = at;
  return *unused;
}

}  // namespace

int block_barrier(Barrier kind, bool predicate, const Location& at) {
  BlockRun& run = block_run();
  SimThread& me = run.current();
  me.where = {"__syncthreads", at};
  if (run.waiting == 0) {
    run.barrier = kind;
    run.barrier_at = at;
    run.barrier_value = kind == Barrier::kAnd;
  } else if (run.barrier != kind || !same_place(run.barrier_at, at)) {
    run.fail("divergent barrier: " + run.describe(me) + " while others wait at " +
             text(run.barrier_at));
  }
  fold(run, kind, predicate);

  char* order = &run.barrier_order[run.barrier_generation % 2];
  release(order);
  me.state = State::kAtBarrier;
  if (++run.waiting == run.live) run.open_barrier();
  run.pass_turn();
  acquire(order);
  return me.barrier_result;
}

void meet(const WarpOperation& operation, uint32_t mask, void* record, const Location& at) {
  BlockRun& run = block_run();
  SimThread& me = run.current();
  me.where = {operation.name, at};
  const uint32_t mine = 1u << me.view.lane;
  if (!(mask & mine))
    run.fail(std::string(operation.name) + " at " + text(at) + ": lane " +
             std::to_string(me.view.lane) + " is not in its own mask");

  Meeting& meeting = meeting_of(run, me, operation, mask, at);
  meeting.records[me.view.lane] = record;
  meeting.arrived |= mine;
  char* order = &meeting.order[meeting.generation % 2];
  if (operation.orders_memory) release(order);

  me.state = State::kInWarp;
  if (meeting.arrived == mask) {
    meeting.arrived = 0;
    ++meeting.generation;
    if (operation.combine) operation.combine(meeting.records, mask);
    const int first = static_cast<int>(me.view.linear - me.view.lane);
    for (int lane = 0; lane < kLanes; ++lane)
      if (mask >> lane & 1) run.wake(run.threads[first + lane]);
  }
  run.pass_turn();
  if (operation.orders_memory) acquire(order);
}

uint32_t active_mask() {
  BlockRun& run = block_run();
  const SimThread& me = run.current();
  const int first = static_cast<int>(me.view.linear - me.view.lane);
  uint32_t mask = 0;
  for (int lane = 0; lane < kLanes && first + lane < run.size; ++lane)
    if (run.threads[first + lane].state != State::kDone) mask |= 1u << lane;
  return mask;
}

void device_fence() {
  BlockRun& run = block_run();
  acquire(&run.fence_order);
  release(&run.fence_order);
  preemption_point();
}

void preemption_point() {
  constexpr int kOneIn = 8;
  if (!in_kernel()) return;
  BlockRun& run = block_run();
  if (run.order == Order::kRandom && run.random() % kOneIn == 0) give_way();
}

void give_way() {
  BlockRun& run = block_run();
  if (run.ready.empty()) return;
  SimThread& me = run.current();
  me.state = State::kReady;
  run.ready.add(run.number(me));
  run.pass_turn();
}

void* shared_slot(const void* key, size_t bytes, size_t alignment) {
  constexpr size_t kAlignment = 128;
  BlockRun& run = block_run();
  for (const SharedSlot& slot : run.shared)
    if (slot.key == key) return slot.data;
  if (alignment > kAlignment) run.fail("a shared variable asks for more than 128-byte alignment");
  if (run.static_shared_bytes + bytes > config().shared_static_limit)
    run.fail("static shared memory of " + std::to_string(run.static_shared_bytes + bytes) +
             " bytes is above the limit of " + std::to_string(config().shared_static_limit));
  if (run.static_shared_bytes + bytes + run.launch.shared_bytes > config().shared_optin_limit)
    run.fail("static and dynamic shared memory together are above " +
             std::to_string(config().shared_optin_limit) + " bytes");
  run.static_shared_bytes += bytes;

  Quiet quietly;
  void* data = ::operator new[](bytes, std::align_val_t{kAlignment});
  std::memset(data, 0xFF, bytes);
  run.shared.push_back({key, data, bytes});
  return data;
}

void* dynamic_shared() { return block_run().shared.front().data; }

void queue_copy(const AsyncCopy& copy) {
  Quiet quietly;
  CopyGroups& copies = block_run().current().copies;
  copies.queued.push_back({copy, copies.open});
}

void close_copy_group() { ++block_run().current().copies.open; }

bool next_landing(int pending, AsyncCopy* copy) {
  Quiet quietly;
  CopyGroups& copies = block_run().current().copies;
  if (copies.next == copies.queued.size()) {
    copies.queued.clear();
    copies.next = 0;
    return false;
  }
  const CopyGroups::Entry& entry = copies.queued[copies.next];
  if (entry.group >= copies.open - pending) return false;
  *copy = entry.copy;
  ++copies.next;
  return true;
}

void fail(const char* rule, const Location& at) {
  BlockRun& run = block_run();
  SimThread& me = run.current();
  me.where = {rule, at};
  run.fail(run.describe(me));
}

}  // namespace simt
