// How sure a model is while it answers: the mean score of its logits over the tokens.
#pragma once

#include <cstdint>
#include <vector>

#include "kinglet/route.h"
#include "kinglet/sampling.h"

namespace kinglet {

/// Changes nothing. Stands before other processors, so that it sees the model's own logits.
class ScoreMeter final : public LogitsProcessor {
 public:
  /// Of the first `steps` tokens; 0: of all.
  ScoreMeter(std::vector<const RouteScore*> scores, std::int64_t steps)
      : scores_(std::move(scores)), sums_(scores_.size()), steps_(steps) {}

  void apply(Candidates& candidates) override {
    if (settled()) return;
    for (std::size_t i = 0; i < scores_.size(); ++i) sums_[i] += scores_[i]->score(candidates.logits());
    ++count_;
  }
  /// No further token counts.
  bool settled() const { return steps_ > 0 && count_ >= steps_; }
  double mean(std::size_t score) const { return count_ > 0 ? sums_[score] / static_cast<double>(count_) : 0; }

 private:
  std::vector<const RouteScore*> scores_;
  std::vector<double> sums_;
  std::int64_t steps_, count_ = 0;
};

}  // namespace kinglet
