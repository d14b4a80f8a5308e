#include <algorithm>
#include <utility>

#include "cli/parse.h"

namespace kinglet {
namespace {

constexpr CommandGroup kGroups[] = {CommandGroup::kAnswer, CommandGroup::kModels, CommandGroup::kChange,
                                    CommandGroup::kMeasure, CommandGroup::kOther};
constexpr std::size_t kWidth = 100;

// Breaks text into lines of at most `width`, each after the first indented.
std::string wrapped(std::string_view text, std::size_t width, std::size_t indent) {
  std::string out;
  std::size_t column = 0;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find_first_of(" \n"), text.size());
    const std::string_view word = text.substr(0, end);
    if (column > 0 && column + 1 + word.size() > width) out += "\n" + std::string(indent, ' '), column = 0;
    if (column > 0) out += ' ', ++column;
    out += word;
    column += word.size();
    const bool line_end = end < text.size() && text[end] == '\n';
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line_end) out += "\n" + std::string(indent, ' '), column = 0;
  }
  return out;
}

std::string option_lines(std::span<const OptionSpec> options) {
  std::string out;
  for (const auto& option : options) {
    std::string heading = "  " + option_heading(option);
    if (heading.size() < 28) {
      heading.resize(28, ' ');
    } else {
      heading += "\n" + std::string(28, ' ');
    }
    out += heading + wrapped(option_help(option), kWidth - 28, 28) + "\n";
  }
  return out;
}

}  // namespace

std::string_view group_title(CommandGroup group) {
  switch (group) {
    case CommandGroup::kAnswer:
      return "Answer";
    case CommandGroup::kModels:
      return "Models";
    case CommandGroup::kChange:
      return "Change";
    case CommandGroup::kMeasure:
      return "Measure";
    case CommandGroup::kOther:
      break;
  }
  return "Other";
}

const Command* find_command(std::string_view name) {
  for (const Command* command : commands())
    if (command->name == name) return command;
  return nullptr;
}

std::string option_heading(const OptionSpec& option) {
  std::string text = option.letter != 0 ? std::string("-") + option.letter + ", " : std::string();
  text += "--" + std::string(option.name);
  if (option.kind != OptionKind::kFlag)
    text += " " + (option.value_name.empty() ? std::string("VALUE") : std::string(option.value_name));
  return text;
}

std::string option_help(const OptionSpec& option) {
  std::string text(option.help);
  if (!text.empty() && text.back() == '.') text.pop_back();
  if (!option.choices.empty()) {
    text += "; one of ";
    for (std::size_t i = 0; i < option.choices.size(); ++i) text += (i ? ", " : "") + std::string(option.choices[i]);
  }
  if (option.repeatable) text += "; may be given several times";
  if (!option.fallback.empty()) text += " [" + std::string(option.fallback) + "]";
  return text;
}

std::string program_help() {
  std::string out =
      "Kinglet runs, compresses and measures language models on this machine.\n\n"
      "Usage: kinglet COMMAND [arguments] [options]\n";
  for (const CommandGroup group : kGroups) {
    std::string lines;
    for (const Command* command : commands()) {
      if (command->group != group) continue;
      std::string name = "  " + std::string(command->name);
      name.resize(std::max<std::size_t>(name.size() + 1, 16), ' ');
      lines += name + std::string(command->summary) + "\n";
    }
    if (!lines.empty()) out += "\n" + std::string(group_title(group)) + ":\n" + lines;
  }
  return out +
         "\nMODEL is a name from `kinglet list models`, a file or a folder.\n"
         "`kinglet COMMAND --help` shows options and examples.\n";
}

std::string command_help(const Command& command) {
  std::string out = std::string(command.summary) + "\n\nUsage: kinglet " + std::string(command.name) + " " +
                    std::string(command.usage) + "\n";
  if (!command.description.empty()) out += "\n" + wrapped(command.description, kWidth, 0) + "\n";
  const std::vector<OptionSpec> options = all_options(command);
  const std::size_t common = std::min(options.size(), common_options().size());
  const std::span<const OptionSpec> all(options);
  if (options.size() > common) out += "\nOptions:\n" + option_lines(all.first(options.size() - common));
  out += "\nCommon options:\n" + option_lines(all.last(common));
  if (!command.examples.empty()) {
    out += "\nExamples:\n";
    for (const std::string_view example : command.examples) out += "  " + std::string(example) + "\n";
  }
  return out;
}

}  // namespace kinglet
