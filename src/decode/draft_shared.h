// What the drafters of one loop share: measured costs, a trimmed head, and how well each kind of draft did.
#pragma once

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <string>

#include "decode/pass_costs.h"
#include "decode/trimmed_head.h"

namespace kinglet {

/// The record of a drafter that costs time of its own: decayed sums over its proposals.
struct DraftRecord {
  double tokens = 0, passes = 0;  ///< tokens that came of them, and what they cost in passes of one row
  int tries = 0;
  double next_try = 0;  ///< where it does not pay: at how many passes it is tried again

  void add(double gained, double cost) {
    tokens = 0.9 * tokens + gained;
    passes = 0.9 * passes + cost;
  }
  /// Tokens a pass; below 1 it costs more than it brings. 0 before the first proposal.
  double value() const { return passes > 0 ? tokens / passes : 0; }
};

/// What trees learn of the model that drafts them.
struct TreeRecord {
  double seconds = 0;     ///< that a pass of it takes; 0: not known
  double sureness = 0.7;  ///< mean probability of its best token
  /// Power of a confidence that gives how often such a token stands. A greedy target takes its best token whenever the
  /// other model's best one is the same, which is oftener than either is sure of it: below 1.
  double doubt = 0.7;

  void took(double pass_seconds) {  // one pass that was held up tells little
    seconds = seconds == 0 ? pass_seconds : seconds + 0.1 * (std::min(pass_seconds, 4 * seconds) - seconds);
  }
  void stood(double expected, int tokens) { doubt = std::clamp(doubt * std::exp(0.1 * (expected - tokens)), 0.1, 2.0); }
};

struct DraftShared {
  PassCosts costs;
  TreeRecord trees;
  std::shared_ptr<TrimmedHead> head;        ///< of the target, for `layers`; made when first needed
  std::shared_ptr<TrimmedHead> model_head;  ///< of the second model, where its vocabulary is trimmed
  std::map<std::string, DraftRecord> records;
  double passes = 0;    ///< made with a controller, in passes of one row
  double explored = 0;  ///< of them, lost with proposals that were tried to see what they are worth
};

}  // namespace kinglet
