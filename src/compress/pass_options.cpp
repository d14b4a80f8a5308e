// Steps against what their passes declare.
#include <algorithm>
#include <charconv>

#include "base/size.h"
#include "base/try.h"
#include "compress/recipe/yaml.h"
#include "kinglet/pass.h"

namespace kinglet {
namespace {

const PassOption* find_option(std::span<const PassOption> options, std::string_view name) {
  for (const PassOption& option : options)
    if (option.name == name) return &option;
  return nullptr;
}

std::string shown(double value) {
  char text[32];
  const auto result = std::to_chars(text, text + sizeof text, value);
  return {text, result.ptr};
}

std::string range(const PassOption& option) {
  if (option.min > -1e300 && option.max < 1e300) return " from " + shown(option.min) + " to " + shown(option.max);
  if (option.min > -1e300) return " from " + shown(option.min) + " on";
  if (option.max < 1e300) return " up to " + shown(option.max);
  return "";
}

bool is_flag(std::string_view text) { return text == "true" || text == "false"; }

/// What is wrong with a value: "" where nothing is.
std::string wrong_with(const PassOption& option, const RecipeNode& node) {
  using Kind = RecipeNode::Kind;
  if (option.kind == PassOptionKind::kMap) return node.kind == Kind::kMap ? "" : "takes 'name: value' lines";
  if (option.kind == PassOptionKind::kList) return node.kind == Kind::kList ? "" : "takes a list";
  if (node.kind != Kind::kScalar || node.text.empty()) return "takes one value";
  double number = 0;
  std::int64_t integer = 0;
  switch (option.kind) {
    case PassOptionKind::kInteger:
      if (!parse_integer(node.text, integer) || static_cast<double>(integer) < option.min ||
          static_cast<double>(integer) > option.max)
        return "takes a whole number" + range(option) + ", found '" + node.text + "'";
      return "";
    case PassOptionKind::kNumber:
      if (!parse_number(node.text, number) || !(number >= option.min && number <= option.max))
        return "takes a number" + range(option) + ", found '" + node.text + "'";
      return "";
    case PassOptionKind::kFlag:
      return is_flag(node.text) ? "" : "takes true or false, found '" + node.text + "'";
    case PassOptionKind::kChoice: {
      std::string known;
      for (std::string_view choice : option.choices) {
        if (choice == node.text) return "";
        known += (known.empty() ? "" : ", ") + std::string(choice);
      }
      return "takes one of " + known + ", found '" + node.text + "'";
    }
    default:
      return "";
  }
}

}  // namespace

std::string PassOptions::text(std::string_view name) const {
  if (const RecipeNode* node = given_.find(name)) return node->text;
  const PassOption* option = find_option(declared_, name);
  return option ? std::string(option->fallback) : std::string();
}

std::int64_t PassOptions::integer(std::string_view name) const {
  std::int64_t value = 0;
  parse_integer(text(name), value);
  return value;
}

double PassOptions::number(std::string_view name) const {
  double value = 0;
  parse_number(text(name), value);
  return value;
}

bool PassOptions::flag(std::string_view name) const { return text(name) == "true"; }

Result<const BlockType*> PassOptions::type(std::string_view name) const {
  if (!given(name)) return nullptr;
  const BlockType* type = find_block_type(text(name));
  if (type == nullptr || type->encode == nullptr || type->decode == nullptr)
    return fail(ErrorCode::kInvalidArgument, "there is no type '" + text(name) + "' to write", "", place(name));
  return type;
}

Result<std::uint64_t> PassOptions::bytes(std::string_view name) const {
  if (!given(name)) return 0;
  auto size = parse_size(text(name));
  if (size) return *size;
  Error error = std::move(size).error();
  error.place = place(name);
  return tl::unexpected(std::move(error));
}

std::string PassOptions::place(std::string_view name) const {
  const RecipeNode* node = given_.find(name);
  return place_of(place_, node ? node->line : given_.line);
}

const PassDescriptor* find_pass(std::string_view name) {
  for (const PassDescriptor* pass : passes())
    if (pass->name == name) return pass;
  return nullptr;
}

Result<PassOptions> pass_options(const RecipeStep& step, std::string_view place) {
  const PassDescriptor* pass = find_pass(step.pass);
  if (!pass) {
    std::string known;
    for (const PassDescriptor* each : passes()) known += (known.empty() ? "" : ", ") + std::string(each->name);
    return fail(ErrorCode::kInvalidArgument, "there is no pass '" + step.pass + "'", "Passes: " + known + ".",
                place_of(place, step.line));
  }
  for (std::size_t i = 0; i < step.options.keys.size(); ++i) {
    const std::string& key = step.options.keys[i];
    const int line = step.options.items[i].line;
    const PassOption* option = find_option(pass->options, key);
    if (!option) {
      std::string known;
      for (const PassOption& each : pass->options) known += (known.empty() ? "" : ", ") + std::string(each.name);
      return fail(ErrorCode::kInvalidArgument, std::string(pass->name) + " has no option '" + key + "'",
                  known.empty() ? "It has none." : "Its options: " + known + ".", place_of(place, line));
    }
    if (const std::string wrong = wrong_with(*option, step.options.items[i]); !wrong.empty())
      return fail(ErrorCode::kInvalidArgument, key + " " + wrong, "", place_of(place, line));
  }
  RecipeNode options = step.options;
  options.line = step.line;
  return PassOptions(pass->options, std::move(options), std::string(place));
}

bool matches_pattern(std::string_view pattern, std::string_view name) {
  // Greedy with one point to go back to: linear in practice, quadratic at worst.
  std::size_t p = 0, n = 0, star = std::string_view::npos, mark = 0;
  while (n < name.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      mark = n;
    } else if (p < pattern.size() && pattern[p] == name[n]) {
      ++p, ++n;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      n = ++mark;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

}  // namespace kinglet
