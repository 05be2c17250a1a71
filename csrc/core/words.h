// The words that choices go by in Python, next to what they mean.
#pragma once

#include <optional>
#include <string>

#include "core/check.h"
#include "unmask/unmask.h"

namespace unmask {

inline Status parse_sampler(const std::string& word, Sampler* sampler) {
  static constexpr Choice<Sampler> kSamplers[] = {{"gumbel", Sampler::kGumbel},
                                                  {"two_level", Sampler::kTwoLevel}};
  return parse("sampler", word, kSamplers, sampler);
}

inline Status parse_rule(const std::string& word, Rule* rule) {
  static constexpr Choice<Rule> kRules[] = {
      {"top", Rule::kTop},       {"random", Rule::kRandom},   {"threshold", Rule::kThreshold},
      {"factor", Rule::kFactor}, {"entropy", Rule::kEntropy},
  };
  return parse("rule", word, kRules, rule);
}

inline Status parse_order(const std::string& word, Order* order) {
  static constexpr Choice<Order> kOrders[] = {
      {"degree*confidence", Order::kDegreeTimesConfidence},
      {"degree", Order::kDegree},
      {"confidence", Order::kConfidence},
  };
  return parse("order", word, kOrders, order);
}

inline Status parse_late(const std::optional<std::string>& word, Late* late) {
  static constexpr Choice<Late> kLates[] = {{"union", Late::kUnion}, {"switch", Late::kSwitch}};
  *late = Late::kNone;
  return word ? parse("late", *word, kLates, late) : Status::success();
}

}  // namespace unmask
