#include "harness.h"
#include "unmask/independent_set.h"

namespace {

using namespace unmask;
using programs::Array;

// The kernel, against the sequential scan, to the bit.
void compare(int64_t batch, int64_t nodes, double density, bool some_eligible) {
  programs::Random random(nodes);
  const int64_t words = words_for(nodes);
  Array<int32_t> conflict(batch * nodes * words);
  Array<float> priority(batch * nodes);
  Array<bool> eligible(batch * nodes, true);
  for (int64_t row = 0; row < batch * nodes; ++row) {
    priority[row] = static_cast<float>(random() % 97);  // many ties
    eligible[row] = !some_eligible || random() % 5 != 0;
    for (int64_t j = 0; j < nodes; ++j)
      if (j != row % nodes && programs::uniform(random) < density)
        conflict[row * words + j / kBitsPerWord] |= static_cast<int32_t>(1u << j % kBitsPerWord);
  }
  Array<bool> expected(batch * nodes), selected(batch * nodes, true);
  IndependentSetArgs args{conflict.get(), priority.get(), some_eligible ? eligible.get() : nullptr,
                          expected.get(), batch,          nodes};
  REQUIRE(cpu::independent_set(args).ok());
  args.selected = selected.get();
  REQUIRE(cuda::independent_set(args, nullptr).ok());
  REQUIRE(selected == expected);
}

}  // namespace

SIMT_TEST(independent_set_of_small_graphs) {
  for (const int64_t nodes : {1, 2, 31, 32, 33, 65, 130}) {
    compare(3, nodes, 0.0, false);
    compare(3, nodes, 0.1, true);
    compare(2, nodes, 1.0, false);
  }
}

// Rows in shared memory.
SIMT_TEST(independent_set_of_a_full_block) { compare(1, 1000, 0.004, true); }

// Rows in global memory, and a second panel.
SIMT_TEST(independent_set_of_two_panels) { compare(1, 1200, 0.01, true); }

SIMT_TEST(independent_set_of_nothing) {
  REQUIRE(cuda::independent_set(IndependentSetArgs{}, nullptr).ok());
}
