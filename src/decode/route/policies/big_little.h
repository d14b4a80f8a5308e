// What the policies of a small writer and a large checker have in common: turns, and what the large model undoes.
#pragma once

#include <optional>

#include "decode/softmax.h"
#include "kinglet/pair.h"

namespace kinglet {

class BigLittle : public PairPolicy {
 public:
  explicit BigLittle(const PairSettings& settings) : fallback_(settings.fallback), rollback_(settings.rollback) {}

  PairTurns turns() const override { return {.checker_begins = true, .checker_adds = true, .checker_goes_on = true}; }
  bool hands_over(std::span<const float> small) const override {
    return !(1 / exp_sum(small, maximum(small)) >= fallback_);
  }
  std::optional<double> objection(std::span<const float> large, TokenId token, double) const override {
    if (argmax(large) == static_cast<std::size_t>(token)) return std::nullopt;
    const double distance = log_sum_exp(large) - large[static_cast<std::size_t>(token)];
    if (rollback_ > 0 && distance <= rollback_) return std::nullopt;
    return distance;
  }

 protected:
  double fallback_, rollback_;
};

}  // namespace kinglet
