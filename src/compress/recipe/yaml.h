// The one place that knows yaml-cpp: text to nodes with line numbers, and back.
#pragma once

#include <string>
#include <string_view>

#include "kinglet/recipe.h"

namespace kinglet {

/// kInvalidArgument with "PLACE:LINE" for text that is not YAML, aliases, keys that are no scalars or stand twice;
/// kExhausted above 1 MiB, 100,000 values or 32 levels.
Result<RecipeNode> parse_yaml(std::string_view text, std::string_view place);
std::string yaml_text(const RecipeNode& node);

/// "PLACE:LINE", or PLACE where the line is unknown.
std::string place_of(std::string_view place, int line);

}  // namespace kinglet
