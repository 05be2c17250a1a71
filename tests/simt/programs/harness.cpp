#include "harness.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <stdexcept>

namespace programs {
namespace {

Test* first = nullptr;

struct Failure : std::runtime_error {
  using std::runtime_error::runtime_error;
};

}  // namespace

Test::Test(const char* test_name, void (*test_body)())
    : name(test_name), body(test_body), next(first) {
  first = this;
}

void complain(const char* what, const char* file, int line) {
  throw Failure(std::string(file) + ":" + std::to_string(line) + ": not so: " + what);
}

int run_all(int count, char** words) {
  const char* only = count > 3 ? words[3] : nullptr;
  simt::Config& config = simt::config();
  if (count > 1 && std::strcmp(words[1], "descending") == 0)
    config.order = simt::Order::kDescending;
  if (count > 1 && std::strcmp(words[1], "random") == 0) config.order = simt::Order::kRandom;
  if (count > 2) config.seed = std::strtoull(words[2], nullptr, 10);

  int failed = 0, ran = 0;
  for (const Test* test = first; test != nullptr; test = test->next) {
    if (only != nullptr && std::strcmp(only, test->name) != 0) continue;
    ++ran;
    try {
      test->body();
    } catch (const std::exception& error) {
      std::printf("FAILED %s: %s\n", test->name, error.what());
      ++failed;
    }
  }
  std::printf("%d of %d tests passed\n", ran - failed, ran);
  return failed > 0 || ran == 0;
}

}  // namespace programs

int main(int count, char** words) { return programs::run_all(count, words); }
