// A command is one file of src/cli/commands: its options are declared once, and parsing, --help, completion and the man
// page are made from the declaration.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/size.h"
#include "kinglet/result.h"

namespace kinglet {

enum class OptionKind { kFlag, kText, kInteger, kNumber, kSize, kFile, kChoice };

struct OptionSpec {
  std::string_view name;  ///< "max-tokens" is --max-tokens
  char letter = 0;        ///< 'n' is also -n
  OptionKind kind = OptionKind::kText;
  std::string_view value_name = {};  ///< "N" in help
  std::string_view help = {};
  std::string_view fallback = {};  ///< shown in help and used when absent; empty: none
  double min = -1e300, max = 1e300;
  std::span<const std::string_view> choices = {};  ///< for kChoice
  bool repeatable = false;
};

/// What was given, checked against the declaration (kinds, ranges, choices).
class Arguments {
 public:
  bool flag(std::string_view name) const;
  bool given(std::string_view name) const;                      ///< stood on the command line
  std::string text(std::string_view name) const;                ///< the fallback where absent
  std::vector<std::string> texts(std::string_view name) const;  ///< repeatable options
  std::int64_t integer(std::string_view name) const;
  double number(std::string_view name) const;
  std::uint64_t size(std::string_view name) const;  ///< bytes
  const std::vector<std::string>& positional() const { return positional_; }

  std::map<std::string, std::vector<std::string>, std::less<>> values_;
  std::map<std::string, std::string, std::less<>> fallbacks_;
  std::vector<std::string> positional_;
};

enum class CommandGroup { kAnswer, kModels, kChange, kMeasure, kOther };

/// Registered by its file in src/cli/commands: `extern const Command command_NAME;`.
struct Command {
  std::string_view name;
  CommandGroup group = CommandGroup::kOther;
  std::string_view summary = {};                              ///< one line
  std::string_view usage = {};                                ///< "MODEL [PROMPT] [options]"
  std::string_view description = {};                          ///< a paragraph or two
  std::span<const std::span<const OptionSpec>> options = {};  ///< sets, so that commands share them
  std::span<const std::string_view> examples = {};  ///< "kinglet run smollm2-135m-instruct \"Hi\"  # what it shows"
  int min_positional = 0, max_positional = 0;       ///< max -1: any number
  Result<void> (*run)(const Arguments& arguments) = nullptr;
  /// Further options that are known only at run time (made from registries); may be null. cli/generation.h has one.
  std::span<const OptionSpec> (*more_options)() = nullptr;
};
std::span<const Command* const> commands();

/// --json, --threads, --quiet, --help: every command has them.
std::span<const OptionSpec> common_options();

/// The whole program: parses argv, runs, prints errors. Returns the exit status of the contract.
int run_program(int argc, char** argv);

}  // namespace kinglet
