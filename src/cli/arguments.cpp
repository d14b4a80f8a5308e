#include <algorithm>
#include <charconv>
#include <cmath>

#include "cli/parse.h"

namespace kinglet {
namespace {

template <typename T>
bool read_number(std::string_view text, T& value) {
  if (!text.empty() && text.front() == '+') text.remove_prefix(1);
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() && !text.empty();
}

std::string plain(double value) {
  char text[64];
  const auto end = std::to_chars(text, text + sizeof text, value).ptr;
  return {text, end};
}

std::string range_text(const OptionSpec& option, std::string_view kind) {
  const bool low = option.min > -1e300, high = option.max < 1e300;
  std::string text(kind);
  if (low && high) return text + " from " + plain(option.min) + " to " + plain(option.max);
  if (low) return text + " of at least " + plain(option.min);
  if (high) return text + " of at most " + plain(option.max);
  return text;
}

Result<void> wrong_value(const OptionSpec& option, std::string_view value, const std::string& expected,
                         std::string hint = {}) {
  return fail(ErrorCode::kInvalidArgument,
              "--" + std::string(option.name) + " expects " + expected + ", found '" + std::string(value) + "'",
              std::move(hint));
}

Result<void> check_choice(const OptionSpec& option, std::string_view value) {
  if (std::find(option.choices.begin(), option.choices.end(), value) != option.choices.end()) return {};
  std::string expected = "one of ";
  for (std::size_t i = 0; i < option.choices.size(); ++i) expected += (i ? ", " : "") + std::string(option.choices[i]);
  const std::string near = nearest(value, option.choices);
  return wrong_value(option, value, expected, near.empty() ? "" : "Did you mean " + near + "?");
}

Result<void> check_value(const OptionSpec& option, std::string_view value) {
  double number = 0;
  switch (option.kind) {
    case OptionKind::kFlag:
    case OptionKind::kText:
      return {};
    case OptionKind::kFile:
      if (value.empty()) return wrong_value(option, value, "a file");
      return {};
    case OptionKind::kChoice:
      return check_choice(option, value);
    case OptionKind::kInteger: {
      std::int64_t integer = 0;
      if (!read_number(value, integer)) return wrong_value(option, value, range_text(option, "a whole number"));
      number = static_cast<double>(integer);
      break;
    }
    case OptionKind::kNumber:
      if (!read_number(value, number) || !std::isfinite(number))
        return wrong_value(option, value, range_text(option, "a number"));
      break;
    case OptionKind::kSize: {
      auto size = parse_size(value);
      if (!size) return wrong_value(option, value, "a size", size.error().hint);
      number = static_cast<double>(*size);
      break;
    }
  }
  if (number < option.min || number > option.max)
    return wrong_value(option, value,
                       range_text(option, option.kind == OptionKind::kInteger ? "a whole number" : "a number"));
  return {};
}

class Parser {
 public:
  Parser(const Command& command, std::span<const std::string_view> words)
      : command_(command), words_(words), options_(all_options(command)) {}

  Result<Arguments> parse() {
    for (const auto& option : options_)
      if (!option.fallback.empty()) arguments_.fallbacks_.emplace(option.name, option.fallback);
    bool only_positional = false;
    while (next_ < words_.size()) {
      const std::string_view word = words_[next_++];
      Result<void> taken;
      if (only_positional || word == "-" || !word.starts_with("-")) {
        arguments_.positional_.emplace_back(word);
      } else if (word == "--") {
        only_positional = true;
      } else if (word.starts_with("--")) {
        taken = take_long(word.substr(2));
      } else {
        taken = take_short(word.substr(1), word.substr(1));
      }
      if (!taken) return tl::unexpected<Error>(std::move(taken).error());
    }
    if (arguments_.flag("help")) return std::move(arguments_);
    if (auto counted = check_count(); !counted) return tl::unexpected<Error>(std::move(counted).error());
    return std::move(arguments_);
  }

 private:
  Result<void> take_long(std::string_view word) {
    const std::size_t equals = word.find('=');
    const std::string_view name = word.substr(0, equals);
    for (const auto& option : options_) {
      if (option.name != name) continue;
      if (equals == std::string_view::npos) return take_value(option);
      if (option.kind == OptionKind::kFlag)
        return fail(ErrorCode::kInvalidArgument, "--" + std::string(name) + " takes no value",
                    "Write --" + std::string(name) + " alone.");
      return store(option, word.substr(equals + 1));
    }
    std::vector<std::string_view> names;
    for (const auto& option : options_) names.push_back(option.name);
    const std::string near = nearest(name, names);
    return unknown("--" + std::string(name), near.empty() ? "" : "--" + near);
  }

  Result<void> take_short(std::string_view word, std::string_view whole) {
    for (const auto& option : options_) {
      if (option.letter == 0 || option.letter != word.front()) continue;
      if (word.size() == 1) return take_value(option);
      if (option.kind != OptionKind::kFlag) {
        word.remove_prefix(word[1] == '=' ? 2 : 1);
        return store(option, word);
      }
      if (auto stored = store(option, "1"); !stored) return stored;
      return take_short(word.substr(1), whole);
    }
    std::vector<std::string_view> names;
    for (const auto& option : options_) names.push_back(option.name);
    const std::string near = whole.size() > 2 ? nearest(whole, names) : "";
    return unknown("-" + std::string(whole), near.empty() ? "" : "--" + near);
  }

  Result<void> unknown(const std::string& word, const std::string& near) {
    std::string hint;
    if (!near.empty()) hint = "Did you mean " + near + "? ";
    hint += "See: kinglet " + std::string(command_.name) + " --help";
    if (near.empty() && command_.max_positional != 0) hint += " (text that begins with - goes after --)";
    return fail(ErrorCode::kInvalidArgument, "there is no option " + word, hint);
  }

  Result<void> take_value(const OptionSpec& option) {
    if (option.kind == OptionKind::kFlag) return store(option, "1");
    if (next_ == words_.size())
      return fail(ErrorCode::kInvalidArgument,
                  "--" + std::string(option.name) + " expects a value (" + std::string(option.value_name) +
                      ") and none follows",
                  "See: kinglet " + std::string(command_.name) + " --help");
    return store(option, words_[next_++]);
  }

  Result<void> store(const OptionSpec& option, std::string_view value) {
    if (auto checked = check_value(option, value); !checked) return checked;
    auto& values = arguments_.values_[std::string(option.name)];
    if (!option.repeatable) values.clear();
    values.emplace_back(value);
    return {};
  }

  Result<void> check_count() {
    const int count = static_cast<int>(arguments_.positional_.size());
    const std::string usage = "Usage: kinglet " + std::string(command_.name) + " " + std::string(command_.usage);
    if (count < command_.min_positional)
      return fail(ErrorCode::kInvalidArgument,
                  count == 0 ? "an argument is missing"
                             : "an argument is missing after '" + arguments_.positional_.back() + "'",
                  usage);
    if (command_.max_positional >= 0 && count > command_.max_positional)
      return fail(
          ErrorCode::kInvalidArgument,
          "unexpected argument '" + arguments_.positional_[static_cast<std::size_t>(command_.max_positional)] + "'",
          usage);
    return {};
  }

  const Command& command_;
  std::span<const std::string_view> words_;
  std::vector<OptionSpec> options_;
  std::size_t next_ = 0;
  Arguments arguments_;
};

}  // namespace

std::span<const OptionSpec> common_options() {
  static constexpr OptionSpec kCommon[] = {
      {.name = "json", .kind = OptionKind::kFlag, .help = "Print JSON on standard output and nothing else there"},
      {.name = "threads",
       .letter = 't',
       .kind = OptionKind::kInteger,
       .value_name = "N",
       .help = "Threads to compute with (without it: one a physical core)",
       .min = 1,
       .max = 1024},
      {.name = "quiet", .letter = 'q', .kind = OptionKind::kFlag, .help = "No progress and no notes"},
      {.name = "help", .letter = 'h', .kind = OptionKind::kFlag, .help = "Show this help"},
  };
  return kCommon;
}

std::vector<OptionSpec> all_options(const Command& command) {
  std::vector<OptionSpec> options;
  const auto add = [&](std::span<const OptionSpec> set) {
    for (const auto& option : set) {
      const auto same = [&](const OptionSpec& other) { return other.name == option.name; };
      if (std::none_of(options.begin(), options.end(), same)) options.push_back(option);
    }
  };
  for (const auto& set : command.options) add(set);
  if (command.more_options != nullptr) add(command.more_options());
  add(common_options());
  return options;
}

Result<Arguments> parse_arguments(const Command& command, std::span<const std::string_view> words) {
  return Parser(command, words).parse();
}

bool Arguments::given(std::string_view name) const { return values_.find(name) != values_.end(); }
bool Arguments::flag(std::string_view name) const { return given(name); }

std::string Arguments::text(std::string_view name) const {
  if (const auto found = values_.find(name); found != values_.end()) return found->second.back();
  if (const auto found = fallbacks_.find(name); found != fallbacks_.end()) return found->second;
  return {};
}

std::vector<std::string> Arguments::texts(std::string_view name) const {
  if (const auto found = values_.find(name); found != values_.end()) return found->second;
  if (const auto found = fallbacks_.find(name); found != fallbacks_.end()) return {found->second};
  return {};
}

std::int64_t Arguments::integer(std::string_view name) const {
  std::int64_t value = 0;
  read_number(text(name), value);
  return value;
}

double Arguments::number(std::string_view name) const {
  double value = 0;
  read_number(text(name), value);
  return value;
}

std::uint64_t Arguments::size(std::string_view name) const { return parse_size(text(name)).value_or(0); }

}  // namespace kinglet
