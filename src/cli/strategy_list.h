// Which strategies `kinglet bench --strategies` compares.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "cli/command.h"
#include "cli/team.h"
#include "kinglet/engine.h"
#include "kinglet/generate.h"

namespace kinglet {

/// A way of choosing tokens, loaded.
struct Strategy {
  std::string name;
  GenerateOptions options;
  std::shared_ptr<Engine> engine;        ///< the one of plain decoding, or one of its own
  std::unique_ptr<Team> team = nullptr;  ///< answers instead of the model alone

  Result<Generation> answer(std::vector<TokenId> prompt, const PromptFor& again) const;
  /// By all models that take part, so far.
  std::uint64_t weights_read() const;
};

/// Plain decoding ("none") and what --only names; without it the drafters that need nothing and what --drafter, --with,
/// --guard or --route ask for; with --pair SMALL everything that the registries have. An entry is a drafter or options
/// ("--early-exit 16:0.9 --cache int8"). Of --pair, what the models do not allow is left out with a note.
Result<std::vector<Strategy>> open_strategies(const Arguments& arguments, const std::shared_ptr<const Model>& model);

}  // namespace kinglet
