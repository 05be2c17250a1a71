// Fibers: many stacks on one OS thread, switched by hand, and announced to ASan and TSan when the
// program is built with one of them.
#pragma once

#include <cstddef>

#if !defined(__x86_64__) && !defined(SIMT_UCONTEXT)
#define SIMT_UCONTEXT
#endif
#ifdef SIMT_UCONTEXT
#include <ucontext.h>
#endif

namespace simt {

struct Context {
#ifdef SIMT_UCONTEXT
  ucontext_t saved;
#else
  void* stack_pointer = nullptr;
#endif
};

struct Fiber {
  Context context;
  const char* stack = nullptr;  // lowest address; of the OS thread itself: learnt from ASan
  size_t stack_bytes = 0;
  void* asan_frames = nullptr;
  void* tsan_identity = nullptr;
  bool in_use = false;  // started, and not ended yet
};

// A fiber with a stack of its own; below the stack lies a page that faults when it overflows.
void create(Fiber& fiber, size_t stack_bytes);
void destroy(Fiber& fiber);

// The running OS thread, as somewhere to come back to.
void adopt_current(Fiber& fiber);

// The next switch to `fiber` starts `entry`, which must call arrived() first and never return.
void start_at(Fiber& fiber, void (*entry)());

// Forgets a fiber in the middle of its work; what it did happened before what `here` does next.
void give_up(Fiber& fiber, Fiber& here);

void switch_to(Fiber& from, Fiber& to, bool from_ends = false);
void arrived();

// What one fiber did before release(at) happened before what another does after acquire(at).
// Nothing else orders fibers in the eyes of TSan.
void release(void* at);
void acquire(void* at);
bool watched_by_tsan();

// TSan also looks into libc calls of code that is not instrumented; a scope of these is private.
class Quiet {
 public:
  Quiet();
  ~Quiet();
  Quiet(const Quiet&) = delete;
  Quiet& operator=(const Quiet&) = delete;
};

}  // namespace simt
