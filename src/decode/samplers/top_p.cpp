#include <memory>

#include "kinglet/sampling.h"

namespace kinglet {
namespace {

class TopP final : public LogitsProcessor {
 public:
  explicit TopP(double mass) : mass_(mass) {}
  void apply(Candidates& candidates) override { candidates.keep_mass(mass_); }

 private:
  double mass_;
};

const SamplerOption kOptions[] = {
    {"top-p", "Draw among the most likely tokens whose probabilities reach X together; 1 is all", 1, 0, 1},
};

std::unique_ptr<LogitsProcessor> make(const SamplerValues& values) {
  const double mass = sampler_value(values, "top-p");
  return mass >= 1 ? nullptr : std::make_unique<TopP>(mass);
}

}  // namespace

extern const SamplerDescriptor sampler_top_p{
    "top-p", "", "keeps the smallest set of tokens that holds the probability P (nucleus)", 70, kOptions, make};

}  // namespace kinglet
