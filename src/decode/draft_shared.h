// What the drafters of one loop share: measured costs, a trimmed head, and how well each kind of draft did.
#pragma once

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

struct DraftShared {
  PassCosts costs;
  std::shared_ptr<TrimmedHead> head;        ///< of the target, for `layers`; made when first needed
  std::shared_ptr<TrimmedHead> model_head;  ///< of the second model, where its vocabulary is trimmed
  std::map<std::string, DraftRecord> records;
  double passes = 0;    ///< made with a controller, in passes of one row
  double explored = 0;  ///< of them, lost with proposals that were tried to see what they are worth
};

}  // namespace kinglet
