#include "decode/softmax.h"
#include "kinglet/route.h"

namespace kinglet {
namespace {

double score(std::span<const float> logits) { return 1 / exp_sum(logits, maximum(logits)); }

}  // namespace

extern const RouteScore route_score_max_prob{"max-prob", "", "probability of the best answer", score};

}  // namespace kinglet
