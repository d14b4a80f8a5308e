// Big-little decoding (BiLD, Kim et al. 2023): the small model hands over where it is unsure, the large one undoes what
// it finds too unlikely. The search for the first bad token goes past those that the large model would write itself.
#include "decode/softmax.h"
#include "kinglet/pair.h"

namespace kinglet {
namespace {

class BigLittle final : public PairPolicy {
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

 private:
  double fallback_, rollback_;
};

std::unique_ptr<PairPolicy> make(const PairSettings& settings) { return std::make_unique<BigLittle>(settings); }

}  // namespace

extern const PairPolicyDescriptor pair_policy_bild{
    "bild", "028", "A small model writes, a large one steps in and undoes; lossy", "--with SMALL", make};

}  // namespace kinglet
