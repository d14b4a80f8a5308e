// Filters over text. Whatever is not text is taken as str() shows it.
#include <algorithm>

#include "model/chat/filters.h"
#include "model/chat/unicode.h"

namespace kinglet::chat {
namespace {

using Mapper = std::string (*)(std::string_view);
template <Mapper mapper>
Value mapped(Interpreter&, const Value& input, CallArguments& arguments) {
  const Bound bound("filter", arguments, {});
  return Value(mapper(to_text(input)));
}

std::string as_is(std::string_view text) { return std::string(text); }

// Words begin after white space and after - ( { [ <.
std::string title(std::string_view text) {
  std::string out, word;
  const auto flush = [&] {
    if (word.empty()) return;
    std::size_t first = 0;
    next_point(word, first);
    out += upper(std::string_view(word).substr(0, first)) + lower(std::string_view(word).substr(first));
    word.clear();
  };
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t start = i;
    const std::int32_t point = next_point(text, i);
    if (is_space(point) || (point > 0 && point < 128 &&
                            std::string_view("-({[<").find(static_cast<char>(point)) != std::string_view::npos)) {
      flush();
      out += text.substr(start, i - start);
    } else {
      word += text.substr(start, i - start);
    }
  }
  flush();
  return out;
}

std::string escape(std::string_view text) {
  charge(text.size());
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&#34;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

std::string percent_encoded(std::string_view text, std::string_view safe) {
  static constexpr char kHex[] = "0123456789ABCDEF";
  charge(text.size() * 3);
  std::string out;
  for (const char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       std::string_view("_.-~").find(c) != std::string_view::npos ||
                       safe.find(c) != std::string_view::npos;
    if (plain) {
      out += c;
    } else {
      out += '%';
      out += kHex[static_cast<unsigned char>(c) >> 4];
      out += kHex[static_cast<unsigned char>(c) & 15];
    }
  }
  return out;
}

std::string urlencode(std::string_view text) { return percent_encoded(text, "/"); }

Value trim(Interpreter&, const Value& input, CallArguments& arguments) {
  const Bound bound("trim", arguments, {"chars"});
  const std::string text = to_text(input);
  if (!bound.has(0) || bound.value(0).is_none()) return Value(strip(text, true, true));
  return Value(strip_set(text, bound.text(0, ""), true, true));
}

Value replace(Interpreter&, const Value& input, CallArguments& arguments) {
  const Bound bound("replace", arguments, {"old", "new", "count"}, 2);
  return Value(replace_all(to_text(input), to_text(bound.value(0)), to_text(bound.value(1)), bound.integer(2, -1)));
}

Value join(Interpreter& interpreter, const Value& input, CallArguments& arguments) {
  const Bound bound("join", arguments, {"d", "attribute"});
  const std::string separator = bound.has(0) ? to_text(bound.value(0)) : "";
  std::string out;
  bool first = true;
  for (const Value& item : elements(input)) {
    const std::string part =
        to_text(bound.has(1) && !bound.value(1).is_none() ? nested_item(interpreter, item, bound.value(1)) : item);
    charge(part.size() + separator.size());
    if (out.size() + part.size() + separator.size() > kOutputBytes)
      throw TemplateError(ErrorCode::kExhausted, "the chat template makes a text of more than 64 MiB");
    if (!first) out += separator;
    out += part;
    first = false;
  }
  return Value(std::move(out));
}

Value indent(Interpreter&, const Value& input, CallArguments& arguments) {
  const Bound bound("indent", arguments, {"width", "first", "blank"});
  if (input.text() == nullptr)
    refuse(input.is_undefined() ? "indent of an undefined value" : "indent expects a string");
  const std::string margin =
      bound.value(0).text() != nullptr ? *bound.value(0).text() : *repeat(Value(" "), bound.integer(0, 4)).text();
  const auto lines = split_lines(*input.text() + "\n");
  std::string out = bound.flag(1, false) ? margin : "";
  for (std::size_t i = 0; i < lines.size(); ++i) {
    const bool indented = i > 0 && (!lines[i].empty() || bound.flag(2, false));
    charge(lines[i].size() + margin.size());
    if (out.size() > kOutputBytes)
      throw TemplateError(ErrorCode::kExhausted, "the chat template makes a text of more than 64 MiB");
    if (i > 0) out += '\n';
    if (indented) out += margin;
    out += lines[i];
  }
  return Value(std::move(out));
}

Value truncate(Interpreter&, const Value& input, CallArguments& arguments) {
  const Bound bound("truncate", arguments, {"length", "killwords", "end", "leeway"});
  const std::string text = to_text(input), end = bound.text(2, "...");
  const std::int64_t length = bound.integer(0, 255), leeway = bound.integer(3, 5);
  const auto end_length = static_cast<std::int64_t>(count_points(end));
  if (length < end_length || leeway < 0) refuse("truncate: a length of at least that of the end is expected");
  if (static_cast<std::int64_t>(count_points(text)) - leeway <= length) return Value(text);
  std::string head(substring(text, 0, static_cast<std::size_t>(length - end_length)));
  if (!bound.flag(1, false))
    if (const std::size_t space = head.rfind(' '); space != std::string::npos) head.resize(space);
  return Value(head + end);
}

Value center(Interpreter&, const Value& input, CallArguments& arguments) {
  const Bound bound("center", arguments, {"width"});
  const std::string text = to_text(input);
  const std::int64_t width = bound.integer(0, 80), room = width - static_cast<std::int64_t>(count_points(text));
  if (room <= 0) return Value(text);
  const std::int64_t left = room / 2 + (room & width & 1);
  return Value(*repeat(Value(" "), left).text() + text + *repeat(Value(" "), room - left).text());
}

Value wordcount(Interpreter&, const Value& input, CallArguments& arguments) {
  const Bound bound("wordcount", arguments, {});
  const std::string text = to_text(input);
  std::int64_t words = 0;
  bool inside = false;
  for (std::size_t i = 0; i < text.size();) {
    const std::int32_t point = next_point(text, i);
    const bool letter = point == '_' || is_alphabetic(point) || is_digit(point);
    if (letter && !inside) ++words;
    inside = letter;
  }
  return Value(words);
}

Value format(Interpreter&, const Value& input, CallArguments& arguments) {
  if (!arguments.named.empty() && !arguments.positional.empty())
    refuse("can't handle positional and keyword arguments at the same time");
  if (arguments.named.empty()) return Value(printf_format(to_text(input), make_tuple(std::move(arguments.positional))));
  auto dict = std::make_shared<Dict>();
  for (auto& [name, value] : arguments.named) dict->set(Value(name), std::move(value));
  return Value(printf_format(to_text(input), Value(std::shared_ptr<const Dict>(std::move(dict)))));
}

constexpr Filter kFilters[] = {
    {"capitalize", mapped<capitalize>}, {"center", center},       {"e", mapped<escape>},   {"escape", mapped<escape>},
    {"forceescape", mapped<escape>},    {"format", format},       {"indent", indent},      {"join", join},
    {"lower", mapped<lower>},           {"replace", replace},     {"safe", mapped<as_is>}, {"string", mapped<as_is>},
    {"title", mapped<title>},           {"trim", trim},           {"truncate", truncate},  {"upper", mapped<upper>},
    {"urlencode", mapped<urlencode>},   {"wordcount", wordcount},
};

}  // namespace

std::span<const Filter> text_filters() { return kFilters; }

}  // namespace kinglet::chat
