#include <memory>

#include "kinglet/sampling.h"

namespace kinglet {
namespace {

class Temperature final : public LogitsProcessor {
 public:
  explicit Temperature(double temperature) : temperature_(static_cast<float>(temperature)) {}
  void apply(Candidates& candidates) override {
    // Relative to the best, so that a small temperature gives -infinity and never +infinity.
    const float max = candidates.max();
    if (max < -3e38f) return;
    for (float& x : candidates.change_logits(true)) x = (x - max) / temperature_;
  }

 private:
  float temperature_;
};

const SamplerOption kOptions[] = {
    {"temperature", "Divide the logits by X; 0 takes the best token always (greedy)", 0, 0, 100},
};

std::unique_ptr<LogitsProcessor> make(const SamplerValues& values) {
  const double temperature = sampler_value(values, "temperature");
  if (temperature == 0 || temperature == 1) return nullptr;
  return std::make_unique<Temperature>(temperature < 1e-6 ? 1e-6 : temperature);
}

}  // namespace

extern const SamplerDescriptor sampler_temperature{
    "temperature", "", "divides the logits: below 1 sharper, above 1 flatter", kShapingOrder, kOptions, make};

}  // namespace kinglet
