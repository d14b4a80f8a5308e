#include <cmath>

#include "decode/softmax.h"
#include "kinglet/route.h"

namespace kinglet {
namespace {

double score(std::span<const float> logits) {
  const double total = log_sum_exp(logits);
  double sum = 0;
  for (const float logit : logits) {
    const double log_p = logit - total;
    if (log_p > -700) sum += std::exp(log_p) * log_p;
  }
  return sum;
}

}  // namespace

extern const RouteScore route_score_entropy{"entropy", "", "negative entropy of the answers' probabilities", score};

}  // namespace kinglet
