#include <cmath>

#include "decode/softmax.h"
#include "kinglet/route.h"

namespace kinglet {
namespace {

double score(std::span<const float> logits) {
  const double total = log_sum_exp(logits);
  double sum = 0;
  for (const float logit : logits) sum += std::exp(std::exp(logit - total));
  return std::log(sum);
}

}  // namespace

// With two answers it orders inputs as max-prob does: log(exp(p) + exp(1 - p)) grows with |p - 1/2|.
extern const RouteScore route_score_energy_prob{
    "energy-prob", "041", "the same formula applied to probabilities, as E-LANG's released code has it", score};

}  // namespace kinglet
