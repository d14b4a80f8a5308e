// Command lines against declarations. Used by the program and its tests; commands see only Arguments.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cli/command.h"

namespace kinglet {

/// Every option of a command, its own first and the common ones last.
std::vector<OptionSpec> all_options(const Command& command);

/// kInvalidArgument with what was expected, what was found and the nearest name.
Result<Arguments> parse_arguments(const Command& command, std::span<const std::string_view> words);

/// The candidate that `word` is most likely a misspelling of, or "".
std::string nearest(std::string_view word, std::span<const std::string_view> candidates);

std::string program_help();
std::string command_help(const Command& command);
const Command* find_command(std::string_view name);
std::string_view group_title(CommandGroup group);

/// "--max-tokens N", "-n, --max-tokens N".
std::string option_heading(const OptionSpec& option);
/// "Help. One of: a, b. Default: x."
std::string option_help(const OptionSpec& option);

std::string completion_script(std::string_view shell);  ///< bash, zsh or fish
/// The page of a command, or of the program where null, in roff.
std::string man_page(const Command* command);

}  // namespace kinglet
