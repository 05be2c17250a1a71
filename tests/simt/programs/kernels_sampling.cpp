#include <cmath>
#include <cstring>
#include <initializer_list>
#include <limits>

#include "cuda/sampling.h"
#include "harness.h"
#include "unmask/topk_confidence.h"

namespace {

using namespace unmask;
using programs::Array;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

void put(float value, DType, float& out) { out = value; }

// bfloat16 and float16, rounded towards zero.
void put(float value, DType type, uint16_t& out) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  const uint32_t sign = bits >> 16 & 0x8000u, exponent = bits >> 23 & 255;
  if (type == DType::kBFloat16)
    out = static_cast<uint16_t>(bits >> 16);
  else if (exponent >= 143)
    out = static_cast<uint16_t>(sign | (std::isnan(value) ? 0x7e00u : 0x7c00u));
  else
    out = static_cast<uint16_t>(
        sign | (exponent <= 112 ? 0u : (exponent - 112) << 10 | (bits >> 13 & 1023)));
}

// [batch, rows, vocab], each row at an odd distance from the one before, so that few are aligned.
template <class T>
struct Logits {
  Logits(int64_t batch, int64_t rows, int64_t vocab, DType type)
      : batch(batch),
        rows(rows),
        vocab(vocab),
        stride(vocab + 1),
        type(type),
        data(batch * rows * stride) {
    fill();
  }

  static constexpr int64_t kKinds = 9;

  // One row of each kind, over and over.
  void fill() {
    programs::Random random(static_cast<uint64_t>(vocab));
    std::normal_distribution<float> normal(0.0f, 3.0f);
    for (int64_t row = 0; row < batch * rows; ++row)
      for (int64_t v = 0; v < vocab; ++v) {
        const float noise = normal(random);
        const float kinds[] = {
            noise,
            std::round(noise),                                // many ties
            -0.0f,                                            // nothing but ties
            v % 7 == 3 ? noise : (v % 2 ? -kInfinity : NAN),  // few usable
            noise * 1000.0f,                                  // decided
            v == vocab / 2 ? kInfinity : noise,               // certain
            v % 2 ? NAN : -kInfinity,                         // none usable
            static_cast<float>(v / 3) * 0.01f,                // ascending
            v == 1 ? 9.0f : 0.0f,  // one likely token, and a crowd as likely together
        };
        put(kinds[row % kKinds], type, at(row, v));
      }
  }

  T& at(int64_t row, int64_t token) const { return data[row * stride + token]; }

  int64_t batch, rows, vocab, stride;
  DType type;
  Array<T> data;
};

template <class T>
TopKConfidenceArgs arguments(const Logits<T>& logits) {
  TopKConfidenceArgs args{};
  LogitRows& rows = args.rows;
  rows.logits = logits.data.get();
  rows.logits_type = logits.type;
  rows.batch = logits.batch;
  rows.rows = rows.nodes = logits.rows;
  rows.vocab = logits.vocab;
  rows.batch_stride = logits.rows * logits.stride;
  rows.row_stride = logits.stride;
  rows.logit_scale = 1.0f;
  args.sampling.temperature = 1.0f;
  args.sampling.top_p = 1.0;
  args.k = 1;
  return args;
}

struct Outputs {
  Outputs(TopKConfidenceArgs& args)
      : cells(args.rows.batch * args.rows.nodes),
        token(cells, 99),
        confidence(cells, 9.0f),
        ids(cells * args.k),
        probs(cells * args.k),
        entropy(cells),
        logsumexp(cells) {
    args.token = token.get();
    args.confidence = confidence.get();
    args.ids = ids.get();
    args.probs = probs.get();
    args.entropy = entropy.get();
    args.logsumexp = logsumexp.get();
  }

  int64_t cells;
  Array<int64_t> token;
  Array<float> confidence;
  Array<int64_t> ids;
  Array<float> probs, entropy, logsumexp;
};

// The kernel's draw against the CPU's: the same token, and its probability. What goes before the
// draw comes from the CPU. `own` are the kernel's suppressed tokens, where they differ.
void compare(TopKConfidenceArgs args, const Array<int64_t>* own = nullptr) {
  TopKConfidenceArgs greedy = args;
  const Outputs expected(args), drawn(greedy);
  greedy.sampling.temperature = 0.0f;
  REQUIRE(cpu::topk_confidence(greedy).ok());
  greedy.sampling.temperature = args.sampling.temperature;
  if (own) {
    greedy.suppress_tokens = own->get();
    greedy.suppress_count = static_cast<int64_t>(own->size());
  }
  REQUIRE(cuda::draw_tokens(greedy, nullptr).ok());
  REQUIRE(cpu::topk_confidence(args).ok());
  REQUIRE(drawn.token == expected.token);
  for (int64_t cell = 0; cell < expected.cells; ++cell) {
    const float wanted = expected.confidence[cell];
    REQUIRE(std::abs(drawn.confidence[cell] - wanted) <= 1e-5f * wanted);
  }
}

// The same with the two-level sampler, which needs what the kernel leaves before the draw.
void compare_two_level(TopKConfidenceArgs args, std::initializer_list<float> temperatures) {
  args.sampling.sampler = Sampler::kTwoLevel;
  for (const float temperature : temperatures) {
    args.sampling.temperature = temperature;
    args.sampling.seed += 12345;
    TopKConfidenceArgs other = args;
    const Outputs expected(args), drawn(other);
    Array<char> workspace(topk_confidence_workspace(other), 77);
    other.workspace = workspace.get();
    REQUIRE(cpu::topk_confidence(args).ok());
    REQUIRE(cuda::topk_confidence(other, nullptr).ok());
    REQUIRE(drawn.token == expected.token);
    for (int64_t cell = 0; cell < expected.cells; ++cell) {
      const float wanted = expected.confidence[cell];
      REQUIRE(std::abs(drawn.confidence[cell] - wanted) <= 2e-5f * wanted + 0x1p-126f);
    }
  }
}

void compare_filters(TopKConfidenceArgs args, std::initializer_list<float> temperatures) {
  for (const float temperature : temperatures)
    for (const int64_t top_k : {0, 1, 7, 300})
      for (const double top_p : {1.0, 0.9, 1e-9}) {
        args.sampling.temperature = temperature;
        args.sampling.seed += 12345;
        args.sampling.top_k = top_k;
        args.sampling.top_p = top_p;
        compare(args);
      }
}

}  // namespace

SIMT_TEST(sampling_of_small_vocabularies) {
  for (const int64_t vocab : {1, 5, 31, 257})
    compare_filters(arguments(Logits<float>(1, Logits<float>::kKinds, vocab, DType::kFloat32)),
                    {1e-38f, 0.7f, 3e38f});
}

SIMT_TEST(sampling_of_several_tiles) {
  compare_filters(arguments(Logits<float>(1, Logits<float>::kKinds, 1100, DType::kFloat32)),
                  {0.7f});
  compare_filters(arguments(Logits<uint16_t>(1, Logits<float>::kKinds, 2049, DType::kBFloat16)),
                  {0.7f});
  compare_filters(arguments(Logits<uint16_t>(1, Logits<float>::kKinds, 2048, DType::kFloat16)),
                  {0.7f});
}

// Rows that several blocks share, and more kept tokens than shared memory lists.
SIMT_TEST(sampling_of_several_blocks) {
  const Logits<uint16_t> logits(1, 3, 9000, DType::kBFloat16);
  TopKConfidenceArgs args = arguments(logits);
  Array<int64_t> unwanted(300);
  for (int64_t i = 0; i < 300; ++i) unwanted[i] = 8200 + i;
  for (const int64_t top_k : {0, 2500})
    for (const double top_p : {1.0, 0.7}) {
      args.sampling.top_k = top_k;
      args.sampling.top_p = top_p;
      compare(args);
    }
  args.sampling.top_k = 0;
  args.sampling.top_p = 1.0;
  args.suppress_tokens = unwanted.get();
  args.suppress_count = 300;
  for (args.sampling.seed = 1; args.sampling.seed < 20; ++args.sampling.seed) compare(args);
}

SIMT_TEST(sampling_of_many_seeds) {
  const Logits<float> logits(1, Logits<float>::kKinds, 500, DType::kFloat32);
  TopKConfidenceArgs args = arguments(logits);
  programs::Random random(1);
  for (args.sampling.seed = 0; args.sampling.seed < 60; ++args.sampling.seed) {
    args.sampling.temperature = 1.0f;
    for (const double most : {0.0, 0.1}) {
      args.sampling.top_p = 1.0 - most * programs::uniform(random);
      compare(args);
    }
    args.sampling.temperature = static_cast<float>(5.0 * programs::uniform(random) + 0.1);
    args.sampling.top_p = 1.0 - programs::uniform(random);
    compare(args);
  }
}

// Padding, a batch, seeds of requests, and a step that only the device knows.
SIMT_TEST(sampling_of_requests) {
  const Logits<float> logits(3, 8, 70, DType::kFloat32);
  TopKConfidenceArgs args = arguments(logits);
  Array<int32_t> positions(3 * 5);
  for (int64_t i = 0; i < 15; ++i) positions[i] = static_cast<int32_t>(i * 7 % 10) - 1;
  Array<int64_t> seeds(3), step(1, (int64_t{1} << 40) + 3);
  seeds[1] = -5;
  seeds[2] = int64_t{1} << 50;
  args.rows.positions = positions.get();
  args.rows.nodes = 5;
  args.rows.row_shift = 1;
  args.rows.logit_scale = 0.5f;
  args.k = 3;
  compare(args);
  args.sampling.device_step = step.get();
  compare(args);
  args.sampling.request_seeds = seeds.get();
  compare(args);
  args.sampling.top_k = 4;
  compare(args);
}

// Ids that no vocabulary has are nobody's.
SIMT_TEST(sampling_without_suppressed_tokens) {
  for (const int64_t vocab : {33, 1030}) {
    const Logits<uint16_t> logits(1, Logits<float>::kKinds, vocab, DType::kBFloat16);
    TopKConfidenceArgs args = arguments(logits);
    Array<int64_t> known(21), own(23, -1);
    for (int64_t i = 0; i < 21; ++i) own[i] = known[i] = i * 31 % vocab;
    own[22] = vocab;
    args.suppress_tokens = known.get();
    args.suppress_count = 21;
    for (const int64_t top_k : {0, 5}) {
      args.sampling.top_k = top_k;
      compare(args, &own);
    }
  }
}

SIMT_TEST(two_level_sampling) {
  for (const int64_t vocab : {1, 9, 129, 1024, 1100})
    compare_two_level(arguments(Logits<float>(1, Logits<float>::kKinds, vocab, DType::kFloat32)),
                      {1e-38f, 0.7f, 3e38f});
  compare_two_level(arguments(Logits<uint16_t>(1, Logits<float>::kKinds, 2049, DType::kBFloat16)),
                    {0.7f, 3.0f});
  compare_two_level(arguments(Logits<uint16_t>(1, Logits<float>::kKinds, 2048, DType::kFloat16)),
                    {0.7f});
}

// Rows that several blocks share, and tokens that may not be drawn.
SIMT_TEST(two_level_sampling_of_several_blocks) {
  const Logits<uint16_t> logits(1, 3, 9000, DType::kBFloat16);
  TopKConfidenceArgs args = arguments(logits);
  compare_two_level(args, {0.5f, 2.0f});
  Array<int64_t> unwanted(300);
  for (int64_t i = 0; i < 300; ++i) unwanted[i] = 29 * i;
  args.suppress_tokens = unwanted.get();
  args.suppress_count = 300;
  compare_two_level(args, {0.5f, 2.0f});
}

SIMT_TEST(two_level_sampling_of_requests) {
  const Logits<float> logits(3, 8, 300, DType::kFloat32);
  TopKConfidenceArgs args = arguments(logits);
  Array<int32_t> positions(3 * 5);
  for (int64_t i = 0; i < 15; ++i) positions[i] = static_cast<int32_t>(i * 7 % 10) - 1;
  Array<int64_t> seeds(3), step(1, (int64_t{1} << 40) + 3);
  seeds[1] = -5;
  args.rows.positions = positions.get();
  args.rows.nodes = 5;
  args.rows.row_shift = 1;
  args.rows.logit_scale = 0.5f;
  args.k = 3;
  args.sampling.device_step = step.get();
  compare_two_level(args, {1.0f});
  args.sampling.request_seeds = seeds.get();
  compare_two_level(args, {1.0f});
}
