// Cuts a workspace into arrays, each aligned; without a workspace only adds up.
#pragma once

#include <cstdint>

namespace unmask {

class Cutter {
 public:
  explicit Cutter(void* workspace) : next_(static_cast<char*>(workspace)) {}

  template <class T>
  T* take(int64_t count) {
    constexpr int64_t kAlignment = 16;
    const int64_t size = count * static_cast<int64_t>(sizeof(T));
    const int64_t padded = (size + kAlignment - 1) / kAlignment * kAlignment;
    char* const piece = next_;
    if (next_) next_ += padded;
    bytes_ += padded;
    return reinterpret_cast<T*>(piece);
  }

  int64_t bytes() const { return bytes_; }

 private:
  char* next_;
  int64_t bytes_ = 0;
};

}  // namespace unmask
