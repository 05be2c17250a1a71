// select and dapd_select.
#include <cmath>
#include <limits>

#include "harness.h"
#include "unmask/dapd_select.h"
#include "unmask/select.h"

namespace {

using namespace unmask;
using programs::Array;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// Many ties, some NaN, every fourth node without a token.
struct Nodes {
  Array<float> confidence, entropy;
  Array<int64_t> token;
  Array<bool> eligible;
  Array<int32_t> positions;

  Nodes(int64_t batch, int64_t nodes, programs::Random& random)
      : confidence(batch * nodes),
        entropy(batch * nodes),
        token(batch * nodes),
        eligible(batch * nodes),
        positions(batch * nodes) {
    for (int64_t i = 0; i < batch * nodes; ++i) {
      const double doubt = std::pow(static_cast<double>(random() % 40) / 40, 3);
      confidence[i] = random() % 50 == 0 ? kNan : static_cast<float>(1 - doubt);
      entropy[i] = static_cast<float>(doubt) * static_cast<float>(random() % 3 + 1) / 100.0f;
      token[i] = random() % 4 ? static_cast<int64_t>(random() % 100) : -1;
      eligible[i] = random() % 5 != 0;
      positions[i] = static_cast<int32_t>(random() % 5000) - 1;
    }
  }
};

void compare_select(int64_t batch, int64_t nodes, Rule rule, double limit, bool some_eligible) {
  programs::Random random(nodes);
  const Nodes given(batch, nodes, random);
  Array<int64_t> seeds(batch, 77), step(1, 3);
  Array<bool> expected(batch * nodes), selected(batch * nodes, true);
  SelectArgs args{};
  args.confidence = given.confidence.get();
  args.token = given.token.get();
  args.entropy = given.entropy.get();
  args.eligible = some_eligible ? given.eligible.get() : nullptr;
  args.positions = some_eligible ? given.positions.get() : nullptr;
  args.rule = rule;
  args.limit = limit;
  args.seed = 5;
  args.request_seeds = some_eligible ? seeds.get() : nullptr;
  args.device_step = some_eligible ? step.get() : nullptr;
  args.batch = batch;
  args.nodes = nodes;
  args.selected = expected.get();
  REQUIRE(cpu::select(args).ok());
  args.selected = selected.get();
  REQUIRE(cuda::select(args, nullptr).ok());
  REQUIRE(selected == expected);
}

void compare_rules(int64_t batch, int64_t nodes) {
  for (const auto& [rule, limit] :
       {std::pair(Rule::kTop, 1.0), std::pair(Rule::kTop, 9.0), std::pair(Rule::kTop, 1e300),
        std::pair(Rule::kRandom, 5.0), std::pair(Rule::kThreshold, 0.9),
        std::pair(Rule::kThreshold, 1.5), std::pair(Rule::kFactor, 1.0),
        std::pair(Rule::kFactor, HUGE_VAL), std::pair(Rule::kEntropy, 0.05),
        std::pair(Rule::kEntropy, 0.0), std::pair(Rule::kEntropy, HUGE_VAL)}) {
    compare_select(batch, nodes, rule, limit, false);
    compare_select(batch, nodes, rule, limit, true);
  }
}

struct DapdCase {
  int64_t batch = 1, nodes = 1;
  double density = 0.1;
  Order order = Order::kDegreeTimesConfidence;
  Late late = Late::kNone;
  float precommit = std::numeric_limits<float>::infinity();
};

void compare_dapd(const DapdCase& c) {
  programs::Random random(c.nodes);
  const Nodes given(c.batch, c.nodes, random);
  const int64_t cells = c.batch * c.nodes, words = words_for(c.nodes);
  Array<int32_t> conflict(cells * words), remaining(c.batch), gen_length(c.batch);
  Array<float> degree(cells), priority(cells);
  Array<bool> eligible(cells), expected(cells), selected(cells, true);
  for (int64_t row = 0; row < cells; ++row) {
    degree[row] = static_cast<float>(random() % 16) / 4.0f;
    for (int64_t j = 0; j < c.nodes; ++j)
      if (j != row % c.nodes && programs::uniform(random) < c.density)
        conflict[row * words + j / kBitsPerWord] |= static_cast<int32_t>(1u << j % kBitsPerWord);
  }
  for (int64_t b = 0; b < c.batch; ++b) {
    gen_length[b] = static_cast<int32_t>(4 * b);  // the first had nothing to generate
    remaining[b] = static_cast<int32_t>(b % 2 ? b : 3 * b);
  }
  DapdSelectArgs args{};
  args.confidence = given.confidence.get();
  args.token = given.token.get();
  args.conflict = conflict.get();
  args.degree = degree.get();
  args.remaining = remaining.get();
  args.gen_length = gen_length.get();
  args.order = c.order;
  args.late = c.late;
  args.precommit = c.precommit;
  args.late_threshold = 0.9f;
  args.late_progress = 0.5f;
  args.batch = c.batch;
  args.nodes = c.nodes;
  args.selected = expected.get();
  args.priority = priority.get();
  args.eligible = eligible.get();
  REQUIRE(cpu::dapd_select(args).ok());
  args.selected = selected.get();
  args.priority = nullptr;  // scratch that the kernel does without
  args.eligible = nullptr;
  REQUIRE(cuda::dapd_select(args, nullptr).ok());
  REQUIRE(selected == expected);
}

}  // namespace

SIMT_TEST(select_around_the_seams) {
  for (const int64_t nodes : {1, 31, 32, 33, 65, 130}) compare_rules(2, nodes);
}

// More nodes than threads, and a sort across warps.
SIMT_TEST(select_of_many_nodes) {
  compare_select(1, 1100, Rule::kEntropy, 50.0, true);
  compare_select(1, 1100, Rule::kFactor, 3.0, false);
}

SIMT_TEST(select_of_nothing) {
  SelectArgs args{};
  args.limit = 1;
  REQUIRE(cuda::select(args, nullptr).ok());
}

SIMT_TEST(dapd_select_around_the_seams) {
  for (const int64_t nodes : {1, 31, 32, 33, 65})
    for (const Late late : {Late::kNone, Late::kUnion, Late::kSwitch})
      for (const float precommit : {0.95f, std::numeric_limits<float>::infinity()})
        compare_dapd({.batch = 4, .nodes = nodes, .late = late, .precommit = precommit});
  compare_dapd({.batch = 2, .nodes = 40, .order = Order::kDegree});
  compare_dapd({.batch = 2, .nodes = 40, .order = Order::kConfidence});
  compare_dapd({.batch = 3, .nodes = 40, .density = 1.0});
}

// Conflict rows in global memory, and a second panel.
SIMT_TEST(dapd_select_of_two_panels) {
  compare_dapd({.batch = 1, .nodes = 1200, .density = 0.01, .precommit = 0.99f});
}

SIMT_TEST(dapd_select_of_nothing) { REQUIRE(cuda::dapd_select(DapdSelectArgs{}, nullptr).ok()); }
