// Compiled without sanitizers: it moves between stacks, which instrumented code may not.
#include "fiber.h"

#include <sys/mman.h>

#include <cstdint>
#include <new>

// Present only in a program built with the sanitizer in question.
#define SIMT_IF_PRESENT extern "C" __attribute__((weak))
SIMT_IF_PRESENT void __sanitizer_start_switch_fiber(void** frames, const void* low, size_t bytes);
SIMT_IF_PRESENT void __sanitizer_finish_switch_fiber(void* frames, const void** low, size_t* bytes);
SIMT_IF_PRESENT void __asan_unpoison_memory_region(const volatile void* low, size_t bytes);
SIMT_IF_PRESENT void* __tsan_get_current_fiber();
SIMT_IF_PRESENT void* __tsan_create_fiber(unsigned flags);
SIMT_IF_PRESENT void __tsan_destroy_fiber(void* identity);
SIMT_IF_PRESENT void __tsan_switch_to_fiber(void* identity, unsigned flags);
SIMT_IF_PRESENT void __tsan_acquire(void* at);
SIMT_IF_PRESENT void __tsan_release(void* at);
SIMT_IF_PRESENT void AnnotateIgnoreReadsBegin(const char* file, int line);
SIMT_IF_PRESENT void AnnotateIgnoreReadsEnd(const char* file, int line);
SIMT_IF_PRESENT void AnnotateIgnoreWritesBegin(const char* file, int line);
SIMT_IF_PRESENT void AnnotateIgnoreWritesEnd(const char* file, int line);

#ifndef SIMT_UCONTEXT
// Saves what the ABI lets a callee keep, on the stack that is left, and takes it back from the
// other one.
extern "C" void simt_swap_stacks(void** save_here, void* load);
asm(R"(
  .text
  .globl simt_swap_stacks
  .hidden simt_swap_stacks
  .type simt_swap_stacks, @function
simt_swap_stacks:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
  .size simt_swap_stacks, . - simt_swap_stacks
)");
#endif

namespace simt {
namespace {

constexpr size_t kGuardBytes = 4096;
constexpr unsigned kNoOrdering = 1;  // a switch alone says nothing about who came first

__thread Fiber* left = nullptr;     // whom the last switch came from
__thread Fiber* entered = nullptr;  // and where it went

void prepare(Context& context, const char* stack, size_t bytes, void (*entry)()) {
#ifdef SIMT_UCONTEXT
  getcontext(&context.saved);
  context.saved.uc_stack.ss_sp = const_cast<char*>(stack);
  context.saved.uc_stack.ss_size = bytes;
  context.saved.uc_link = nullptr;
  makecontext(&context.saved, entry, 0);
#else
  constexpr int kSavedRegisters = 6;
  auto top = reinterpret_cast<uintptr_t>(stack + bytes) & ~uintptr_t{15};
  auto slot = reinterpret_cast<void**>(top);
  *--slot = nullptr;  // the return address of `entry`: ends backtraces, aligns as a call would
  *--slot = reinterpret_cast<void*>(entry);
  for (int i = 0; i < kSavedRegisters; ++i) *--slot = nullptr;
  context.stack_pointer = slot;
#endif
}

void swap(Context& from, Context& to) {
#ifdef SIMT_UCONTEXT
  swapcontext(&from.saved, &to.saved);
#else
  simt_swap_stacks(&from.stack_pointer, to.stack_pointer);
#endif
}

}  // namespace

void create(Fiber& fiber, size_t stack_bytes) {
  void* mapped = mmap(nullptr, stack_bytes + kGuardBytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapped == MAP_FAILED) throw std::bad_alloc();
  mprotect(mapped, kGuardBytes, PROT_NONE);
  fiber.stack = static_cast<char*>(mapped) + kGuardBytes;
  fiber.stack_bytes = stack_bytes;
  if (__tsan_create_fiber) fiber.tsan_identity = __tsan_create_fiber(0);
}

void destroy(Fiber& fiber) {
  munmap(const_cast<char*>(fiber.stack) - kGuardBytes, fiber.stack_bytes + kGuardBytes);
  if (__tsan_destroy_fiber) __tsan_destroy_fiber(fiber.tsan_identity);
  fiber = {};
}

void adopt_current(Fiber& fiber) {
  fiber.stack = nullptr;
  if (__tsan_get_current_fiber) fiber.tsan_identity = __tsan_get_current_fiber();
}

void start_at(Fiber& fiber, void (*entry)()) {
  fiber.asan_frames = nullptr;
  fiber.in_use = true;
  prepare(fiber.context, fiber.stack, fiber.stack_bytes, entry);
}

void give_up(Fiber& fiber, Fiber& here) {
  if (__asan_unpoison_memory_region) __asan_unpoison_memory_region(fiber.stack, fiber.stack_bytes);
  if (__tsan_switch_to_fiber) {
    constexpr unsigned kOrdering = 0;
    __tsan_switch_to_fiber(fiber.tsan_identity, kOrdering);
    __tsan_switch_to_fiber(here.tsan_identity, kOrdering);
    __tsan_destroy_fiber(fiber.tsan_identity);
    fiber.tsan_identity = __tsan_create_fiber(0);
  }
  fiber.in_use = false;
}

void switch_to(Fiber& from, Fiber& to, bool from_ends) {
  left = &from;
  entered = &to;
  if (__tsan_switch_to_fiber) __tsan_switch_to_fiber(to.tsan_identity, kNoOrdering);
  if (__sanitizer_start_switch_fiber)
    __sanitizer_start_switch_fiber(from_ends ? nullptr : &from.asan_frames, to.stack,
                                   to.stack_bytes);
  swap(from.context, to.context);
  arrived();
}

void arrived() {
  if (!__sanitizer_finish_switch_fiber) return;
  const void* low = nullptr;
  size_t bytes = 0;
  __sanitizer_finish_switch_fiber(entered->asan_frames, &low, &bytes);
  if (left->stack == nullptr) {
    left->stack = static_cast<const char*>(low);
    left->stack_bytes = bytes;
  }
}

void release(void* at) {
  if (__tsan_release) __tsan_release(at);
}

void acquire(void* at) {
  if (__tsan_acquire) __tsan_acquire(at);
}

bool watched_by_tsan() { return __tsan_create_fiber != nullptr; }

Quiet::Quiet() {
  if (!AnnotateIgnoreReadsBegin) return;
  AnnotateIgnoreReadsBegin(__FILE__, __LINE__);
  AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
}

Quiet::~Quiet() {
  if (!AnnotateIgnoreReadsEnd) return;
  AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
  AnnotateIgnoreReadsEnd(__FILE__, __LINE__);
}

}  // namespace simt
