// A guard for a model of doubtful origin (CleanGen, Li et al. 2024): a reference model reads what the suspect wrote and
// replaces tokens to which the suspect gives far more probability than the reference does. Both probabilities are those
// at temperature 1; as the suspect's is at most 1, a token that the reference gives 1 / ratio or more always stands.
#include <cmath>

#include "decode/softmax.h"
#include "kinglet/pair.h"

namespace kinglet {
namespace {

class Guard final : public PairPolicy {
 public:
  explicit Guard(const PairSettings& settings) : least_(std::log(settings.ratio)) {}

  PairTurns turns() const override { return {}; }
  /// Log of the ratio. A reference that gives nothing at all makes it infinite.
  std::optional<double> objection(std::span<const float> reference, TokenId token,
                                  double writer_logprob) const override {
    if (std::isinf(least_) && least_ > 0) return std::nullopt;
    const double suspicion = writer_logprob - (reference[static_cast<std::size_t>(token)] - log_sum_exp(reference));
    if (suspicion < least_) return std::nullopt;
    // Replacing a token by itself changes nothing.
    if (argmax(reference) == static_cast<std::size_t>(token)) return std::nullopt;
    return suspicion;
  }

 private:
  double least_;  ///< log(ratio): -infinity replaces everything, infinity nothing
};

std::unique_ptr<PairPolicy> make(const PairSettings& settings) { return std::make_unique<Guard>(settings); }

}  // namespace

extern const PairPolicyDescriptor pair_policy_cleangen{
    "cleangen", "034", "A reference model replaces tokens that a suspect model likes too much", "--guard REFERENCE",
    make};

}  // namespace kinglet
