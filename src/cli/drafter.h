// What --drafter names: a drafter of the registry, a second model, or a drafter file.
#pragma once

#include <string>

#include "cli/command.h"
#include "kinglet/generate.h"

namespace kinglet {

/// What --drafter names, or --with SMALL --policy llmcad, which is --drafter tree,SMALL.
std::string drafter_spec(const Arguments& arguments);

/// Sets drafter and draft_model of `options` by `spec`: "none", a registered name, "layers:N", a model's name or file,
/// a file that `kinglet drafter` wrote, "auto,MODEL" or "tree,MODEL". kInvalidArgument with the names there are;
/// kCorrupt where a drafter file belongs to another model.
Result<void> open_drafter(const std::string& spec, const Arguments& arguments, Engine& target,
                          GenerateOptions& options);

/// Whether each token id stands for the same text in both.
bool same_vocabulary(const Model& a, const Model& b);

}  // namespace kinglet
