// Filters over sequences and values of any kind; those over text are in text_filters.cpp.
#include "model/chat/filters.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "model/chat/merge_sort.h"
#include "model/chat/unicode.h"

namespace kinglet::chat {
namespace {

Value iterator(std::vector<Value> items) { return make_sequence(Sequence::Kind::kIterator, std::move(items)); }

Value ignore_case(Value value) { return value.text() != nullptr ? Value(lower(*value.text())) : std::move(value); }

Value default_value(Interpreter&, const Value& input, CallArguments& arguments) {
  const Bound bound("default", arguments, {"default_value", "boolean"});
  const bool absent = input.is_undefined() || (bound.flag(1, false) && !truth(input));
  if (!absent) return input;
  return bound.has(0) ? bound.value(0) : Value("");
}

Value length(Interpreter&, const Value& input, CallArguments& arguments) {
  const Bound bound("length", arguments, {});
  return Value(length_of(input));
}

Value first(Interpreter&, const Value& input, CallArguments& arguments) {
  const Bound bound("first", arguments, {});
  const auto items = elements(input);
  return items.empty() ? Value::undefined("No first item, sequence was empty.") : items.front();
}

void need_reversible(const Value& input) {
  const Sequence* list = input.sequence();
  if (list != nullptr && list->kind == Sequence::Kind::kIterator)
    refuse("'" + type_name(input) + "' object is not reversible");
}

Value last(Interpreter&, const Value& input, CallArguments& arguments) {
  const Bound bound("last", arguments, {});
  need_reversible(input);
  const auto items = elements(input);
  return items.empty() ? Value::undefined("No last item, sequence was empty.") : items.back();
}

Value reverse(Interpreter&, const Value& input, CallArguments& arguments) {
  const Bound bound("reverse", arguments, {});
  auto items = elements(input);
  std::reverse(items.begin(), items.end());
  if (input.text() == nullptr)
    return make_sequence(Sequence::Kind::kIterator, std::move(items), "list_reverseiterator");
  std::string out;
  for (const Value& item : items) out += *item.text();
  return Value(std::move(out));
}

Value list(Interpreter&, const Value& input, CallArguments& arguments) {
  const Bound bound("list", arguments, {});
  return make_list(elements(input));
}

Value items(Interpreter&, const Value& input, CallArguments& arguments) {
  const Bound bound("items", arguments, {});
  if (input.is_undefined()) return iterator({});
  if (input.dict() == nullptr) refuse("Can only get item pairs from a mapping.");
  std::vector<Value> out;
  for (const auto& [key, value] : input.dict()->entries) out.push_back(make_tuple({key, value}));
  return iterator(std::move(out));
}

// Sorts by keys that are made once; comparing them may throw.
std::vector<Value> sorted(std::vector<Value> items, const std::function<Value(const Value&)>& key, bool reverse) {
  std::vector<std::pair<Value, Value>> keyed;
  for (Value& item : items) keyed.emplace_back(key(item), std::move(item));
  const auto before = [](const auto& a, const auto& b) { return compare(a.first, b.first, "<") < 0; };
  // Python keeps equal elements in their order also when it sorts downwards.
  if (reverse) {
    std::reverse(keyed.begin(), keyed.end());
    merge_sort(keyed, before);
    std::reverse(keyed.begin(), keyed.end());
  } else {
    merge_sort(keyed, before);
  }
  std::vector<Value> out;
  for (auto& [unused, item] : keyed) out.push_back(std::move(item));
  return out;
}

Value sort(Interpreter& interpreter, const Value& input, CallArguments& arguments) {
  const Bound bound("sort", arguments, {"reverse", "case_sensitive", "attribute"});
  const bool sensitive = bound.flag(1, false);
  std::vector<Value> paths;
  if (bound.value(2).text() != nullptr) {
    std::string_view rest = *bound.value(2).text();
    for (std::size_t comma = rest.find(','); comma != std::string_view::npos; comma = rest.find(',')) {
      paths.emplace_back(rest.substr(0, comma));
      rest.remove_prefix(comma + 1);
    }
    paths.emplace_back(rest);
  } else if (bound.has(2) && !bound.value(2).is_none()) {
    paths.push_back(bound.value(2));
  }
  const auto key = [&](const Value& item) {
    std::vector<Value> parts;
    if (paths.empty()) parts.push_back(sensitive ? item : ignore_case(item));
    for (const Value& path : paths) {
      Value part = nested_item(interpreter, item, path);
      parts.push_back(sensitive ? std::move(part) : ignore_case(std::move(part)));
    }
    return make_list(std::move(parts));
  };
  return make_list(sorted(elements(input), key, bound.flag(0, false)));
}

Value dictsort(Interpreter&, const Value& input, CallArguments& arguments) {
  const Bound bound("dictsort", arguments, {"case_sensitive", "by", "reverse"});
  const std::string by = bound.text(1, "key");
  if (by != "key" && by != "value") refuse("You can only sort by either \"key\" or \"value\"");
  if (input.is_undefined()) refuse_undefined(input);
  if (input.dict() == nullptr) refuse("dictsort expects a mapping, found " + type_name(input));
  std::vector<Value> pairs;
  for (const auto& [key, value] : input.dict()->entries) pairs.push_back(make_tuple({key, value}));
  const auto key = [&](const Value& pair) {
    const Value& part = pair.sequence()->items[by == "key" ? 0 : 1];
    return bound.flag(0, false) ? part : ignore_case(part);
  };
  return make_list(sorted(std::move(pairs), key, bound.flag(2, false)));
}

Value unique(Interpreter& interpreter, const Value& input, CallArguments& arguments) {
  const Bound bound("unique", arguments, {"case_sensitive", "attribute"});
  Dict seen;
  std::vector<Value> out;
  for (const Value& item : elements(input)) {
    Value key = bound.has(1) && !bound.value(1).is_none() ? nested_item(interpreter, item, bound.value(1)) : item;
    if (!bound.flag(0, false)) key = ignore_case(std::move(key));
    if (seen.find(key) != nullptr) continue;
    seen.set(std::move(key), Value(true));
    out.push_back(item);
  }
  return iterator(std::move(out));
}

template <bool largest>
Value extreme(Interpreter& interpreter, const Value& input, CallArguments& arguments) {
  const Bound bound(largest ? "max" : "min", arguments, {"case_sensitive", "attribute"});
  std::optional<Value> best, best_key;
  for (const Value& item : elements(input)) {
    Value key = bound.has(1) && !bound.value(1).is_none() ? nested_item(interpreter, item, bound.value(1)) : item;
    if (!bound.flag(0, false)) key = ignore_case(std::move(key));
    if (best_key && (largest ? compare(key, *best_key, ">") <= 0 : compare(key, *best_key, "<") >= 0)) continue;
    best = item;
    best_key = std::move(key);
  }
  return best ? *best : Value::undefined("No aggregated item, sequence was empty.");
}

Value sum(Interpreter& interpreter, const Value& input, CallArguments& arguments) {
  const Bound bound("sum", arguments, {"attribute", "start"});
  Value total = bound.has(1) ? bound.value(1) : Value(0);
  if (total.text() != nullptr) refuse("sum() can't sum strings [use join instead]");
  for (const Value& item : elements(input))
    total = binary(ExprKind::kAdd, total,
                   bound.has(0) && !bound.value(0).is_none() ? nested_item(interpreter, item, bound.value(0)) : item);
  return total;
}

Value map(Interpreter& interpreter, const Value& input, CallArguments& arguments) {
  std::vector<Value> out;
  if (arguments.positional.empty()) {
    const Bound bound("map", arguments, {"", "attribute", "default"});
    if (!bound.has(1)) refuse("map requires a filter argument");
    for (const Value& item : elements(input)) {
      Value found = nested_item(interpreter, item, bound.value(1));
      out.push_back(found.is_undefined() && bound.has(2) && !bound.value(2).is_none() ? bound.value(2)
                                                                                      : std::move(found));
    }
    return iterator(std::move(out));
  }
  const std::string* name = arguments.positional.front().text();
  if (name == nullptr) refuse("map expects the name of a filter");
  CallArguments rest{{arguments.positional.begin() + 1, arguments.positional.end()}, arguments.named};
  for (const Value& item : elements(input)) {
    CallArguments given = rest;
    out.push_back(interpreter.filter(*name, item, given));
  }
  return iterator(std::move(out));
}

template <bool by_attribute, bool keep>
Value select(Interpreter& interpreter, const Value& input, CallArguments& arguments) {
  auto& given = arguments.positional;
  std::size_t used = 0;
  Value path;
  if (by_attribute) {
    if (given.empty()) refuse("Missing parameter for attribute name");
    path = given[used++];
  }
  std::string test;
  if (used < given.size()) {
    if (given[used].text() == nullptr) refuse("select expects the name of a test");
    test = *given[used++].text();
  }
  const CallArguments rest{{given.begin() + static_cast<std::ptrdiff_t>(used), given.end()}, arguments.named};
  std::vector<Value> out;
  for (const Value& item : elements(input)) {
    const Value subject = by_attribute ? nested_item(interpreter, item, path) : item;
    CallArguments test_arguments = rest;
    if ((test.empty() ? truth(subject) : interpreter.test(test, subject, test_arguments)) == keep) out.push_back(item);
  }
  return iterator(std::move(out));
}

Value batch(Interpreter&, const Value& input, CallArguments& arguments) {
  const Bound bound("batch", arguments, {"linecount", "fill_with"}, 1);
  const auto size = static_cast<std::size_t>(std::clamp<std::int64_t>(bound.integer(0, 1), 1, kRange));
  std::vector<Value> out, row;
  for (const Value& item : elements(input)) {
    if (row.size() == size) out.push_back(make_list(std::exchange(row, {})));
    row.push_back(item);
  }
  if (!row.empty()) {
    if (bound.has(1) && !bound.value(1).is_none()) row.resize(size, bound.value(1));
    out.push_back(make_list(std::move(row)));
  }
  return iterator(std::move(out));
}

Value slices(Interpreter&, const Value& input, CallArguments& arguments) {
  const Bound bound("slice", arguments, {"slices", "fill_with"}, 1);
  const auto items = elements(input);
  const auto count = static_cast<std::size_t>(std::clamp<std::int64_t>(bound.integer(0, 1), 1, kRange));
  const std::size_t each = items.size() / count, longer = items.size() % count;
  std::vector<Value> out;
  std::size_t at = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t size = each + (i < longer ? 1 : 0);
    std::vector<Value> row(items.begin() + static_cast<std::ptrdiff_t>(at),
                           items.begin() + static_cast<std::ptrdiff_t>(at + size));
    at += size;
    if (bound.has(1) && !bound.value(1).is_none() && i >= longer) row.push_back(bound.value(1));
    out.push_back(make_list(std::move(row)));
  }
  return iterator(std::move(out));
}

Value groupby(Interpreter& interpreter, const Value& input, CallArguments& arguments) {
  const Bound bound("groupby", arguments, {"attribute", "default", "case_sensitive"}, 1);
  const auto key = [&](const Value& item) {
    Value found = nested_item(interpreter, item, bound.value(0));
    if (found.is_undefined() && bound.has(1)) found = bound.value(1);
    return bound.flag(2, false) ? found : ignore_case(std::move(found));
  };
  std::vector<Value> out, members;
  Value current;
  const auto close = [&] {
    if (members.empty()) return;
    // The name shown is the first member's own, before its case was ignored.
    Value name = nested_item(interpreter, members.front(), bound.value(0));
    if (name.is_undefined() && bound.has(1)) name = bound.value(1);
    auto pair = std::make_shared<Sequence>(Sequence::Kind::kTuple,
                                           std::vector<Value>{std::move(name), make_list(std::exchange(members, {}))});
    pair->grouped = true;
    out.emplace_back(std::shared_ptr<const Sequence>(std::move(pair)));
  };
  for (Value& item : sorted(elements(input), key, false)) {
    Value group = key(item);
    if (!members.empty() && !equal(group, current)) close();
    current = std::move(group);
    members.push_back(std::move(item));
  }
  close();
  return make_list(std::move(out));
}

Value attr(Interpreter& interpreter, const Value& input, CallArguments& arguments) {
  const Bound bound("attr", arguments, {"name"}, 1);
  if (input.dict() != nullptr) return Value::undefined("'dict object' has no attribute '" + bound.text(0, "") + "'");
  return interpreter.attribute(input, bound.text(0, ""));
}

Value absolute(Interpreter&, const Value& input, CallArguments& arguments) {
  const Bound bound("abs", arguments, {});
  const auto number = input.number();
  if (!number) refuse("bad operand type for abs(): '" + type_name(input) + "'");
  return *number < 0 ? negate(input, false) : negate(input, true);
}

// As Python reads a number from text: white space around it and _ between digits are fine.
std::string trimmed_number(std::string_view text) {
  std::string out;
  text = strip(text, true, true);
  for (std::size_t i = 0; i < text.size(); ++i)
    if (text[i] != '_' || i == 0 || i + 1 == text.size() || text[i - 1] == '_') out += text[i];
  if (!out.empty() && out[0] == '+' && out.size() > 1 && out[1] != '-') out.erase(0, 1);
  return out;
}

std::optional<double> read_float(std::string_view text) {
  const std::string digits = trimmed_number(text);
  double value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (digits.empty() || end != digits.data() + digits.size() || digits.find_first_of("xXpP(") != std::string::npos)
    return std::nullopt;
  if (error == std::errc::result_out_of_range) return digits[0] == '-' ? -HUGE_VAL : HUGE_VAL;
  return error == std::errc() ? std::optional(value) : std::nullopt;
}

std::optional<std::int64_t> whole(double value) {
  if (!(std::abs(value) < 9.2e18)) return std::nullopt;
  return static_cast<std::int64_t>(value);
}

Value to_int(Interpreter&, const Value& input, CallArguments& arguments) {
  const Bound bound("int", arguments, {"default", "base"});
  if (input.is_undefined()) refuse_undefined(input);
  const Value fallback = bound.has(0) ? bound.value(0) : Value(0);
  if (const auto integer = input.integer()) return *integer;
  if (const double* number = input.get<double>()) {
    const auto value = whole(*number);
    return value ? Value(*value) : fallback;
  }
  const std::string* text = input.text();
  if (text == nullptr) return fallback;
  std::string digits = trimmed_number(*text);
  auto base = static_cast<int>(bound.integer(1, 10));
  const std::size_t sign = digits.starts_with("-") ? 1 : 0;
  if (base == 16 && (digits.substr(sign).starts_with("0x") || digits.substr(sign).starts_with("0X")))
    digits.erase(sign, 2);
  if (base == 8 && digits.substr(sign).starts_with("0o")) digits.erase(sign, 2);
  if (base == 2 && digits.substr(sign).starts_with("0b")) digits.erase(sign, 2);
  if (base < 2 || base > 36) base = 10;
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value, base);
  if (error == std::errc() && end == digits.data() + digits.size()) return value;
  if (const auto number = read_float(*text))
    if (const auto integer = whole(*number)) return *integer;
  return fallback;
}

Value to_float(Interpreter&, const Value& input, CallArguments& arguments) {
  const Bound bound("float", arguments, {"default"});
  if (input.is_undefined()) refuse_undefined(input);
  if (const auto number = input.number()) return *number;
  if (input.text() != nullptr)
    if (const auto number = read_float(*input.text())) return *number;
  return bound.has(0) ? bound.value(0) : Value(0.0);
}

// Rounds half to even on the decimal digits that the number really has.
double round_digits(double value, int digits) {
  if (!std::isfinite(value) || digits > 300) return value;
  char text[800];
  if (digits >= 0) {
    std::snprintf(text, sizeof text, "%.*f", digits, value);
    double out = 0;
    std::from_chars(text, text + std::char_traits<char>::length(text), out);
    return out;
  }
  const double scale = std::pow(10.0, -digits);
  return std::nearbyint(value / scale) * scale;
}

Value round(Interpreter&, const Value& input, CallArguments& arguments) {
  const Bound bound("round", arguments, {"precision", "method"});
  const std::string method = bound.text(1, "common");
  const auto digits = static_cast<int>(std::clamp<std::int64_t>(bound.integer(0, 0), -300, 400));
  if (method != "common" && method != "ceil" && method != "floor") refuse("method must be common, ceil or floor");
  const auto number = input.number();
  if (!number) refuse("type " + type_name(input) + " doesn't define __round__ method");
  if (method == "common") {
    if (input.integer() && digits >= 0) return *input.integer();
    const double rounded = round_digits(*number, digits);
    return input.integer() ? Value(static_cast<std::int64_t>(rounded)) : Value(rounded);
  }
  const double scale = std::pow(10.0, digits);
  return (method == "ceil" ? std::ceil(*number * scale) : std::floor(*number * scale)) / scale;
}

JsonStyle json_style(const Bound& bound) {
  JsonStyle style;
  const Value& indent = bound.value(1);
  if (indent.text() != nullptr) {
    style.indent = *indent.text();
  } else if (const auto count = indent.integer(); count) {
    style.indent = std::string(static_cast<std::size_t>(std::clamp<std::int64_t>(*count, 0, 1000)), ' ');
  }
  if (style.indent) style.item_separator = ",";
  style.ensure_ascii = bound.flag(0, false);
  if (const Value& separators = bound.value(2); bound.has(2) && !separators.is_none()) {
    const auto parts = elements(separators);
    if (parts.size() != 2 || parts[0].text() == nullptr || parts[1].text() == nullptr)
      refuse("tojson: separators are two strings");
    style.item_separator = *parts[0].text();
    style.key_separator = *parts[1].text();
  }
  style.sort_keys = bound.flag(3, false);
  return style;
}

Value tojson(Interpreter&, const Value& input, CallArguments& arguments) {
  const Bound bound("tojson", arguments, {"ensure_ascii", "indent", "separators", "sort_keys"});
  return Value(to_json(input, json_style(bound)));
}

constexpr Filter kFilters[] = {
    {"abs", absolute},
    {"attr", attr},
    {"batch", batch},
    {"count", length},
    {"d", default_value},
    {"default", default_value},
    {"dictsort", dictsort},
    {"first", first},
    {"float", to_float},
    {"groupby", groupby},
    {"int", to_int},
    {"items", items},
    {"last", last},
    {"length", length},
    {"list", list},
    {"map", map},
    {"max", extreme<true>},
    {"min", extreme<false>},
    {"reject", select<false, false>},
    {"rejectattr", select<true, false>},
    {"reverse", reverse},
    {"round", round},
    {"select", select<false, true>},
    {"selectattr", select<true, true>},
    {"slice", slices},
    {"sort", sort},
    {"sum", sum},
    {"tojson", tojson},
    {"unique", unique},
};

const Filter* find_filter(std::string_view name) {
  for (const std::span<const Filter> set : {std::span<const Filter>(kFilters), text_filters()})
    for (const Filter& filter : set)
      if (filter.name == name) return &filter;
  return nullptr;
}

}  // namespace

Value nested_item(Interpreter& interpreter, const Value& value, const Value& path) {
  const std::string* text = path.text();
  if (text == nullptr) return interpreter.item(value, path);
  Value at = value;
  std::string_view rest = *text;
  while (true) {
    const std::size_t dot = rest.find('.');
    const std::string_view part = rest.substr(0, dot);
    std::int64_t index = 0;
    const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), index);
    const bool number = !part.empty() && part[0] != '-' && error == std::errc() && end == part.data() + part.size();
    at = interpreter.item(at, number ? Value(index) : Value(part));
    if (dot == std::string_view::npos) return at;
    rest.remove_prefix(dot + 1);
  }
}

bool has_filter(std::string_view name) { return find_filter(name) != nullptr; }

Value apply_filter(Interpreter& interpreter, std::string_view name, const Value& input, CallArguments& arguments) {
  const Filter* filter = find_filter(name);
  if (filter == nullptr)
    throw TemplateError(ErrorCode::kUnsupported,
                        "the chat template uses a filter '" + std::string(name) + "' that is not known");
  return filter->body(interpreter, input, arguments);
}

}  // namespace kinglet::chat
