// Many prompts in a file: one {"prompt": …} or {"messages": […]} a line.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "decode/prompt.h"

namespace kinglet {

/// A prompt for a model with a vocabulary and a template of its own.
using PromptFor = std::function<Result<std::vector<TokenId>>(const PromptMaker&)>;

/// In the order of the lines; lines of white space are passed over. `system` comes before each {"prompt"} where it is
/// not empty. kInvalidArgument with the line's number where it is of neither form.
Result<std::vector<PromptFor>> read_prompt_file(const std::string& path, std::string_view system);

}  // namespace kinglet
