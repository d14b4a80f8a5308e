#include <cmath>
#include <memory>

#include "kinglet/sampling.h"

namespace kinglet {
namespace {

class MinP final : public LogitsProcessor {
 public:
  explicit MinP(double share) : depth_(static_cast<float>(std::log(share))) {}
  void apply(Candidates& candidates) override { candidates.keep_above(candidates.max() + depth_); }

 private:
  float depth_;  ///< log of the share: how far below the best logit a token may be
};

const SamplerOption kOptions[] = {
    {"min-p", "Drop tokens less likely than X times the best one; 0 drops none", 0, 0, 1},
};

std::unique_ptr<LogitsProcessor> make(const SamplerValues& values) {
  const double share = sampler_value(values, "min-p");
  return share <= 0 ? nullptr : std::make_unique<MinP>(share);
}

}  // namespace

extern const SamplerDescriptor sampler_min_p{
    "min-p", "", "keeps the tokens with at least P times the best one's probability", 80, kOptions, make};

}  // namespace kinglet
