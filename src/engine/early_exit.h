// Tokens that are drawn before the last layer, where the model is sure already (Sorted LLaMA, Kavehzadeh et al. 2023,
// inference mode c).
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "kinglet/engine.h"

namespace kinglet {

struct ExitPoint {
  int layers = 0;     ///< layers that have run
  double enough = 1;  ///< probability of the best token from which on it is drawn here
};

/// LAYER:P,… with ascending layers below `layers` and 0 <= P <= 2 (above 1: never).
Result<std::vector<ExitPoint>> parse_exits(std::string_view text, int layers);

/// An engine whose step() follows engine->options().early_exit. Rows that left early wait with their hidden states, and
/// run the layers above in one pass as soon as a later row goes there: what any row sees in any layer is what it would
/// see without exits, so that only the logits of rows that left are others. Rows of a tree all run to the end.
Result<std::unique_ptr<Engine>> exit_early(std::unique_ptr<Engine> engine);

struct ExitCounts {
  std::vector<ExitPoint> exits;
  std::vector<std::int64_t> drawn;  ///< tokens drawn at each exit, and last at the end
  int layers = 0;
  double mean_layers() const;  ///< of the drawn tokens; what waited for later is not counted
};
/// Null for an engine without early exits.
const ExitCounts* exit_counts(const Engine& engine);

}  // namespace kinglet
