#include "block_run.h"

#include <cstdlib>
#include <cstring>
#include <new>

namespace simt {

__thread const Thread* this_thread = nullptr;
__thread const Block* this_block = nullptr;

Config& config() {
  static Config instance;
  return instance;
}

BlockRun& block_run() {
  static __thread BlockRun* run = nullptr;
  if (run == nullptr) run = new BlockRun;  // lives as long as its OS thread's launches do
  return *run;
}

bool in_kernel() { return this_thread != nullptr; }

std::string text(const Location& at) {
  return std::string(at.file_name()) + ":" + std::to_string(at.line());
}

int ReadySet::take(Order order, uint64_t random) {
  constexpr int kWords = kMaxThreads / 64;
  int rank = order == Order::kRandom ? static_cast<int>(random % static_cast<unsigned>(size_)) : 0;
  for (int step = 0; step < kWords; ++step) {
    const int w = order == Order::kDescending ? kWords - 1 - step : step;
    uint64_t word = words_[w];
    if (const int here = __builtin_popcountll(word); rank >= here) {
      rank -= here;
      continue;
    }
    for (; rank > 0; --rank) word &= word - 1;
    const int bit =
        order == Order::kDescending ? 63 - __builtin_clzll(word) : __builtin_ctzll(word);
    words_[w] &= ~(uint64_t{1} << bit);
    --size_;
    return w * 64 + bit;
  }
  std::abort();
}

// `view` is the first member, so that the built-in variables cost one load.
SimThread& BlockRun::current() {
  return *reinterpret_cast<SimThread*>(const_cast<Thread*>(this_thread));
}

uint64_t BlockRun::random() {  // xorshift64
  random_state ^= random_state << 13;
  random_state ^= random_state >> 7;
  return random_state ^= random_state << 17;
}

void BlockRun::wake(SimThread& thread) {
  thread.state = State::kReady;
  ready.add(number(thread));
}

void BlockRun::pass_turn() {
  SimThread& me = current();
  if (ready.empty()) fail_deadlocked();
  if (++switches > config().max_switches)
    fail("does not finish within Config::max_switches; now in " + describe(me));
  SimThread& next = threads[ready.take(order, random())];
  if (&next == &me) return;
  this_thread = &next.view;
  switch_to(*me.fiber, *next.fiber);
}

void BlockRun::finish() {
  SimThread& me = current();
  me.state = State::kDone;
  me.fiber->in_use = false;
  --live;
  const uint32_t mine = 1u << me.view.lane;
  for (int m = 0; m < kLanes; ++m) {
    const Meeting& meeting = meetings[me.view.warp * kLanes + m];
    if (meeting.arrived && meeting.mask & mine)
      fail("lane " + std::to_string(me.view.lane) + " exited, but is named in the mask of " +
           meeting.operation->name + " at " + text(meeting.at));
  }
  if (live > 0 && waiting == live) open_barrier();
  release(&end_order);
  if (live == 0) {
    this_thread = nullptr;
    switch_to(*me.fiber, home, true);
  }
  if (ready.empty()) fail_deadlocked();
  SimThread& next = threads[ready.take(order, random())];
  this_thread = &next.view;
  switch_to(*me.fiber, *next.fiber, true);
  std::abort();
}

void BlockRun::open_barrier() {
  waiting = 0;
  ++barrier_generation;
  for (int t = 0; t < size; ++t) {
    if (threads[t].state != State::kAtBarrier) continue;
    threads[t].barrier_result = barrier_value;
    wake(threads[t]);
  }
}

void BlockRun::fail(const std::string& why) {
  SimThread& me = current();
  new (quiet) Quiet;  // until run_grid has reported
  error = std::string("simt: kernel ") + launch.name + ", block (" + std::to_string(view.index.x) +
          ", " + std::to_string(view.index.y) + ", " + std::to_string(view.index.z) + "): " + why;
  reinterpret_cast<Quiet*>(quiet)->~Quiet();
  this_thread = nullptr;
  switch_to(*me.fiber, home, true);
  std::abort();
}

void BlockRun::fail_deadlocked() {
  constexpr int kShown = 6;
  std::string why = "deadlock:";
  int shown = 0;
  for (int t = 0; t < size && shown < kShown; ++t) {
    if (threads[t].state != State::kAtBarrier && threads[t].state != State::kInWarp) continue;
    why += "\n  " + describe(threads[t]);
    ++shown;
  }
  fail(why);
}

std::string BlockRun::describe(const SimThread& thread) {
  const uint3& index = thread.view.index;
  return "thread (" + std::to_string(index.x) + ", " + std::to_string(index.y) + ", " +
         std::to_string(index.z) + ") at " + thread.where.what + " " + text(thread.where.at);
}

void BlockRun::free_shared() {
  Quiet quietly;
  for (const SharedSlot& slot : shared) ::operator delete[](slot.data, std::align_val_t{128});
  shared.clear();
  static_shared_bytes = 0;
}

}  // namespace simt
