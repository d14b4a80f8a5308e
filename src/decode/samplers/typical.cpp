#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <vector>

#include "decode/softmax.h"
#include "kinglet/sampling.h"

namespace kinglet {
namespace {

/// Locally typical sampling (Meister et al. 2022): keeps the tokens whose surprise is nearest to the entropy, until
/// they hold `mass` of the probability.
class Typical final : public LogitsProcessor {
 public:
  explicit Typical(double mass) : mass_(mass) {}

  void apply(Candidates& candidates) override {
    // Tokens 24 nats below the best (one in 2.6e10 of it) are dropped first: they are never near the entropy.
    candidates.keep_above(candidates.max() - 24.0f);
    const auto logits = candidates.logits();
    if (logits.empty()) return;
    const float max = candidates.max();
    const double sum = candidates.weight_sum(), log_sum = std::log(sum);
    double entropy = 0;
    for (float x : logits) entropy += exp_nonpositive(x - max) / sum * (log_sum - (x - max));
    order_.clear();
    for (std::uint32_t i = 0; i < logits.size(); ++i)
      order_.push_back({std::abs(log_sum - (logits[i] - max) - entropy), i});
    std::sort(order_.begin(), order_.end());
    double reached = 0;
    kept_.clear();
    for (const auto& [distance, i] : order_) {
      kept_.push_back(i);
      reached += exp_nonpositive(logits[i] - max) / sum;
      if (reached >= mass_) break;
    }
    std::sort(kept_.begin(), kept_.end());
    candidates.keep(kept_);
  }

 private:
  double mass_;
  std::vector<std::pair<double, std::uint32_t>> order_;
  std::vector<std::uint32_t> kept_;
};

const SamplerOption kOptions[] = {
    {"typical", "Draw among tokens about as surprising as the entropy, up to the probability X; 1 is all", 1, 0, 1},
};

std::unique_ptr<LogitsProcessor> make(const SamplerValues& values) {
  const double mass = sampler_value(values, "typical");
  return mass >= 1 ? nullptr : std::make_unique<Typical>(mass);
}

}  // namespace

extern const SamplerDescriptor sampler_typical{
    "typical", "", "keeps the tokens whose surprise is nearest to the distribution's entropy", 65, kOptions, make};

}  // namespace kinglet
