// Inside the engine: one block in flight. Not for kernels.
//
// Members are plain arrays and types of this file: a std::vector<int> of the engine could be merged
// by the linker with an instrumented one of a test, and the sanitizers would then watch the engine.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engine.h"
#include "fiber.h"

namespace simt {

inline constexpr int kMaxThreads = 1024;
inline constexpr int kLanes = 32;

enum class State : uint8_t { kReady, kAtBarrier, kInWarp, kDone };

struct Where {
  const char* what = "start";
  Location at;
};

struct CopyGroups {
  struct Entry {
    AsyncCopy copy;
    int group;
  };
  std::vector<Entry> queued;
  size_t next = 0;
  int open = 0;  // number of the group that takes new copies
};

struct SimThread {
  Thread view;  // first: this_thread points here
  Fiber* fiber = nullptr;
  State state = State::kReady;
  Where where;
  int barrier_result = 0;
  CopyGroups copies;
};

// Who could run now; picks by the configured order.
class ReadySet {
 public:
  void clear() {
    for (uint64_t& word : words_) word = 0;
    size_ = 0;
  }
  void add(int thread) {
    words_[thread / 64] |= uint64_t{1} << (thread % 64);
    ++size_;
  }
  bool empty() const { return size_ == 0; }
  int take(Order order, uint64_t random);

 private:
  uint64_t words_[kMaxThreads / 64] = {};
  int size_ = 0;
};

// Lanes of one mask on their way to the same operation.
struct Meeting {
  const WarpOperation* operation = nullptr;
  uint32_t mask = 0;
  uint32_t arrived = 0;
  void* records[kLanes] = {};
  Location at;
  char order[2] = {};  // what TSan keys the ordering by, alternating
  unsigned generation = 0;
};

struct SharedSlot {
  const void* key;
  void* data;
  size_t bytes;
};

struct BlockRun {
  Block view;
  Launch launch;
  void (*body)(void*) = nullptr;
  void* body_context = nullptr;
  Order order = Order::kAscending;
  uint64_t random_state = 1;

  Fiber home;  // of the thread that launched
  std::unique_ptr<SimThread[]> threads{new SimThread[kMaxThreads]};
  // Two sets, used in turn under TSan: else thread 0 of every block would be one thread to it.
  std::unique_ptr<Fiber[]> fibers{new Fiber[2 * kMaxThreads]};
  size_t stack_bytes = 0;
  int size = 0;
  int live = 0;
  ReadySet ready;
  uint64_t switches = 0;

  int waiting = 0;  // at the block barrier
  Barrier barrier = Barrier::kPlain;
  int barrier_value = 0;
  Location barrier_at;
  char barrier_order[2] = {};
  unsigned barrier_generation = 0;

  std::unique_ptr<Meeting[]> meetings{new Meeting[kMaxThreads]};  // kLanes per warp
  std::vector<SharedSlot> shared;
  size_t static_shared_bytes = 0;

  char fence_order = 0, start_order = 0, end_order = 0;
  bool running = false;
  std::string error;
  char quiet[sizeof(Quiet)];

  SimThread& current();
  int number(const SimThread& thread) const { return static_cast<int>(&thread - threads.get()); }
  uint64_t random();

  void wake(SimThread& thread);
  void pass_turn();  // the current thread waits, or has queued itself
  void finish();     // the current thread has returned from the kernel
  void open_barrier();
  void free_shared();

  [[noreturn]] void fail(const std::string& why);
  [[noreturn]] void fail_deadlocked();
  static std::string describe(const SimThread& thread);
};

std::string text(const Location& at);

// The block of this OS thread.
BlockRun& block_run();
bool in_kernel();

}  // namespace simt
