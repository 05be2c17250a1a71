// A test program in one header: SIMT_TEST(name) { ... } registers a function, REQUIRE checks, main()
// runs them all in the thread order that the command line names:
//
//   program [ascending | descending | random] [seed] [only this test]
#pragma once

#include <cstdint>
#include <memory>
#include <random>
#include <string>

#include "simt/engine.h"

namespace programs {

struct Test {
  Test(const char* name, void (*body)());

  const char* name;
  void (*body)();
  Test* next;
};

[[noreturn]] void complain(const char* what, const char* file, int line);
int run_all(int count, char** words);

// The message of the error that `launch` ends in; empty when it does not.
template <class Launch>
std::string refusal_of(Launch launch) {
  try {
    launch();
  } catch (const simt::Error& error) {
    return error.what();
  }
  return "";
}

inline bool contains(const std::string& text, const char* part) {
  return text.find(part) != std::string::npos;
}

// Exactly `size` elements on the heap, so that AddressSanitizer sees the first byte beyond.
template <class T>
class Array {
 public:
  explicit Array(size_t size, T value = T{}) : size_(size), data_(new T[size]) {
    for (size_t i = 0; i < size; ++i) data_[i] = value;
  }
  T* get() const { return data_.get(); }
  T& operator[](size_t i) const { return data_[i]; }
  size_t size() const { return size_; }
  bool operator==(const Array& other) const {
    for (size_t i = 0; i < size_; ++i)
      if (data_[i] != other.data_[i]) return false;
    return size_ == other.size_;
  }

 private:
  size_t size_;
  std::unique_ptr<T[]> data_;
};

using Random = std::mt19937_64;

inline double uniform(Random& random) { return std::uniform_real_distribution<double>()(random); }

}  // namespace programs

#define SIMT_TEST(name)                                      \
  static void name();                                        \
  static programs::Test registration_of_##name(#name, name); \
  static void name()

#define REQUIRE(condition)                                                \
  do {                                                                    \
    if (!(condition)) programs::complain(#condition, __FILE__, __LINE__); \
  } while (false)
