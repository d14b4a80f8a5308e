#include "decode/softmax.h"
#include "kinglet/route.h"

namespace kinglet {

// The free energy at temperature 1 is -log sum exp(logits); surer is lower, so its negative is the score.
extern const RouteScore route_score_energy{"energy", "041", "negative free energy of the logits, log sum exp(logit)",
                                           log_sum_exp};

}  // namespace kinglet
