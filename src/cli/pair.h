// `run BIG --with SMALL`: two models answer together.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "cli/command.h"
#include "kinglet/engine.h"

namespace kinglet {

std::span<const OptionSpec> pair_options();
/// Answers `prompt` by both models and prints as `run` does; with --json also "pair":{…}.
Result<void> run_pair(const Arguments& arguments, Engine& large, const std::vector<TokenId>& prompt, double load_ms);

}  // namespace kinglet
