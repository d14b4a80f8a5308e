// Methods of strings, dicts and lists.
#include <algorithm>
#include <span>

#include "model/chat/interpreter.h"
#include "model/chat/unicode.h"

namespace kinglet::chat {
namespace {

struct Method {
  std::string_view name;
  Value (*body)(Interpreter&, const Value& self, CallArguments&);
};

struct BoundMethod final : Object {
  BoundMethod(Value of, const Method& which) : self(std::move(of)), method(which) {}
  bool callable() const override { return true; }
  std::string repr() const override { return "<built-in method " + std::string(method.name) + ">"; }
  std::optional<Value> call(Interpreter& interpreter, CallArguments& arguments) override {
    return method.body(interpreter, self, arguments);
  }
  Value self;
  const Method& method;
};

const std::string& str(const Value& self) { return *self.text(); }

using Mapper = std::string (*)(std::string_view);
template <Mapper mapper>
Value mapped(Interpreter&, const Value& self, CallArguments& arguments) {
  const Bound bound("str", arguments, {});
  return Value(mapper(str(self)));
}

template <bool left, bool right>
Value stripped(Interpreter&, const Value& self, CallArguments& arguments) {
  const Bound bound("strip", arguments, {"chars"});
  if (!bound.has(0) || bound.value(0).is_none()) return Value(strip(str(self), left, right));
  return Value(strip_set(str(self), bound.text(0, ""), left, right));
}

std::vector<Value> split_spaces(std::string_view text, std::int64_t most, bool from_right) {
  std::vector<Value> parts;
  text = strip(text, !from_right || most < 0, from_right || most < 0);
  const auto letters = characters(text);
  const auto space = [&](std::size_t i) {
    std::size_t offset = 0;
    return is_space(next_point(letters[i], offset));
  };
  const auto part = [&](std::size_t begin, std::size_t end) {
    const char* start = letters[begin].data();
    return std::string_view(start, static_cast<std::size_t>(letters[end - 1].data() + letters[end - 1].size() - start));
  };
  std::size_t begin = 0, end = letters.size();
  if (from_right) {
    while (end > 0) {
      if (most >= 0 && static_cast<std::int64_t>(parts.size()) == most) {
        parts.emplace_back(part(0, end));
        break;
      }
      std::size_t start = end;
      while (start > 0 && !space(start - 1)) --start;
      if (start < end) parts.emplace_back(part(start, end));
      for (end = start; end > 0 && space(end - 1);) --end;
    }
    std::reverse(parts.begin(), parts.end());
    return parts;
  }
  while (begin < end) {
    if (most >= 0 && static_cast<std::int64_t>(parts.size()) == most) {
      parts.emplace_back(part(begin, end));
      break;
    }
    std::size_t stop = begin;
    while (stop < end && !space(stop)) ++stop;
    if (stop > begin) parts.emplace_back(part(begin, stop));
    for (begin = stop; begin < end && space(begin);) ++begin;
  }
  return parts;
}

std::vector<Value> split_at(std::string_view text, std::string_view separator, std::int64_t most, bool from_right) {
  if (separator.empty()) refuse("empty separator");
  charge(text.size());
  std::vector<Value> parts;
  while (most < 0 || static_cast<std::int64_t>(parts.size()) < most) {
    const std::size_t found = from_right ? text.rfind(separator) : text.find(separator);
    if (found == std::string_view::npos) break;
    if (from_right) {
      parts.emplace_back(text.substr(found + separator.size()));
      text = text.substr(0, found);
    } else {
      parts.emplace_back(text.substr(0, found));
      text.remove_prefix(found + separator.size());
    }
  }
  parts.emplace_back(text);
  if (from_right) std::reverse(parts.begin(), parts.end());
  return parts;
}

template <bool from_right>
Value split(Interpreter&, const Value& self, CallArguments& arguments) {
  const Bound bound("split", arguments, {"sep", "maxsplit"});
  const std::int64_t most = bound.integer(1, -1);
  if (!bound.has(0) || bound.value(0).is_none()) return make_list(split_spaces(str(self), most, from_right));
  return make_list(split_at(str(self), bound.text(0, ""), most, from_right));
}

Value splitlines(Interpreter&, const Value& self, CallArguments& arguments) {
  const Bound bound("splitlines", arguments, {"keepends"});
  std::vector<Value> lines;
  for (std::string& line : split_lines(str(self), bound.flag(0, false))) lines.emplace_back(std::move(line));
  return make_list(std::move(lines));
}

// The part of the text that the optional start and end arguments name.
std::string_view part_of(const Value& self, const Bound& bound, std::size_t first) {
  if (!bound.has(first)) return str(self);
  const std::int64_t count = length_of(self);
  const auto at = [&](std::int64_t index) {
    return std::clamp<std::int64_t>(index < 0 ? index + count : index, 0, count);
  };
  const std::int64_t begin = at(bound.integer(first, 0)), end = at(bound.integer(first + 1, count));
  return begin < end ? substring(str(self), static_cast<std::size_t>(begin), static_cast<std::size_t>(end))
                     : std::string_view();
}

template <bool at_end>
Value starts_or_ends(Interpreter&, const Value& self, CallArguments& arguments) {
  const Bound bound(at_end ? "endswith" : "startswith", arguments, {"prefix", "start", "end"}, 1);
  const std::string_view text = part_of(self, bound, 1);
  const auto matches = [&](const Value& part) {
    if (part.text() == nullptr)
      refuse(std::string(at_end ? "endswith" : "startswith") + " first arg must be str or a tuple of str, not " +
             type_name(part));
    return at_end ? text.ends_with(*part.text()) : text.starts_with(*part.text());
  };
  if (const Sequence* list = bound.value(0).sequence(); list != nullptr && list->kind == Sequence::Kind::kTuple)
    return Value(std::any_of(list->items.begin(), list->items.end(), matches));
  return Value(matches(bound.value(0)));
}

Value replace(Interpreter&, const Value& self, CallArguments& arguments) {
  const Bound bound("replace", arguments, {"old", "new", "count"}, 2);
  return Value(replace_all(str(self), bound.text(0, ""), bound.text(1, ""), bound.integer(2, -1)));
}

template <bool from_right, bool must>
Value find(Interpreter&, const Value& self, CallArguments& arguments) {
  const Bound bound("find", arguments, {"sub", "start", "end"}, 1);
  const std::string_view text = part_of(self, bound, 1);
  charge(text.size());
  const std::string part = bound.text(0, "");
  const std::size_t found = from_right ? text.rfind(part) : text.find(part);
  if (found == std::string_view::npos) {
    if (must) refuse("substring not found");
    return Value(-1);
  }
  const auto before =
      std::string_view(str(self).data(), static_cast<std::size_t>(text.data() + found - str(self).data()));
  return Value(static_cast<std::int64_t>(count_points(before)));
}

Value count(Interpreter&, const Value& self, CallArguments& arguments) {
  const Bound bound("count", arguments, {"sub", "start", "end"}, 1);
  const std::string_view text = part_of(self, bound, 1);
  const std::string part = bound.text(0, "");
  charge(text.size());
  if (part.empty()) return Value(static_cast<std::int64_t>(count_points(text)) + 1);
  std::int64_t times = 0;
  for (std::size_t at = text.find(part); at != std::string_view::npos; at = text.find(part, at + part.size())) ++times;
  return Value(times);
}

Value join(Interpreter&, const Value& self, CallArguments& arguments) {
  const Bound bound("join", arguments, {"iterable"}, 1);
  std::string out;
  bool first = true;
  for (const Value& item : elements(bound.value(0))) {
    if (item.text() == nullptr) refuse("sequence item: expected str instance, " + type_name(item) + " found");
    charge(item.text()->size() + str(self).size());
    if (out.size() + item.text()->size() + str(self).size() > kOutputBytes)
      throw TemplateError(ErrorCode::kExhausted, "the chat template makes a text of more than 64 MiB");
    if (!first) out += str(self);
    out += *item.text();
    first = false;
  }
  return Value(std::move(out));
}

Value format(Interpreter& interpreter, const Value& self, CallArguments& arguments) {
  return Value(brace_format(interpreter, str(self), arguments));
}

template <bool (*accepts)(std::int32_t)>
Value every(Interpreter&, const Value& self, CallArguments& arguments) {
  const Bound bound("str", arguments, {});
  charge(str(self).size());
  for (std::size_t i = 0; i < str(self).size();)
    if (!accepts(next_point(str(self), i))) return Value(false);
  return Value(!str(self).empty());
}

bool alphanumeric(std::int32_t point) { return is_alphabetic(point) || is_digit(point); }

template <bool upper_case>
Value is_case(Interpreter&, const Value& self, CallArguments& arguments) {
  const Bound bound("str", arguments, {});
  charge(str(self).size());
  bool found = false;
  for (std::size_t i = 0; i < str(self).size();) {
    const std::int32_t point = next_point(str(self), i);
    if (upper_case ? is_lower(point) : is_upper(point)) return Value(false);
    found = found || (upper_case ? is_upper(point) : is_lower(point));
  }
  return Value(found);
}

template <int side>  // -1: text to the left, 0: centred, 1: text to the right
Value pad(Interpreter&, const Value& self, CallArguments& arguments) {
  const Bound bound("ljust", arguments, {"width", "fillchar"}, 1);
  const std::string fill = bound.text(1, " ");
  if (count_points(fill) != 1) refuse("The fill character must be exactly one character long");
  const std::int64_t room = bound.integer(0, 0) - length_of(self);
  if (room <= 0) return self;
  const std::int64_t width = bound.integer(0, 0);
  const std::int64_t left = side < 0 ? 0 : side > 0 ? room : room / 2 + (room & width & 1);
  return Value(*repeat(Value(fill), left).text() + str(self) + *repeat(Value(fill), room - left).text());
}

Value zfill(Interpreter&, const Value& self, CallArguments& arguments) {
  const Bound bound("zfill", arguments, {"width"}, 1);
  const std::int64_t room = bound.integer(0, 0) - length_of(self);
  if (room <= 0) return self;
  const bool sign = !str(self).empty() && (str(self)[0] == '-' || str(self)[0] == '+');
  return Value(str(self).substr(0, sign) + *repeat(Value("0"), room).text() + str(self).substr(sign));
}

template <bool from_right>
Value partition(Interpreter&, const Value& self, CallArguments& arguments) {
  const Bound bound("partition", arguments, {"sep"}, 1);
  const std::string part = bound.text(0, "");
  if (part.empty()) refuse("empty separator");
  charge(str(self).size());
  const std::size_t found = from_right ? str(self).rfind(part) : str(self).find(part);
  if (found == std::string::npos)
    return from_right ? make_tuple({Value(""), Value(""), self}) : make_tuple({self, Value(""), Value("")});
  return make_tuple({Value(str(self).substr(0, found)), Value(part), Value(str(self).substr(found + part.size()))});
}

template <bool suffix>
Value without(Interpreter&, const Value& self, CallArguments& arguments) {
  const Bound bound(suffix ? "removesuffix" : "removeprefix", arguments, {"part"}, 1);
  const std::string part = bound.text(0, "");
  std::string_view text = str(self);
  if (suffix && text.ends_with(part)) text.remove_suffix(part.size());
  if (!suffix && text.starts_with(part)) text.remove_prefix(part.size());
  return Value(text);
}

Value get(Interpreter&, const Value& self, CallArguments& arguments) {
  const Bound bound("get", arguments, {"key", "default"}, 1);
  if (const Value* found = self.dict()->find(bound.value(0))) return *found;
  return bound.has(1) ? bound.value(1) : Value(None{});
}

Value keys(Interpreter&, const Value& self, CallArguments& arguments) {
  const Bound bound("keys", arguments, {});
  return make_sequence(Sequence::Kind::kKeys, elements(self));
}

Value values(Interpreter&, const Value& self, CallArguments& arguments) {
  const Bound bound("values", arguments, {});
  std::vector<Value> out;
  for (const auto& [key, value] : self.dict()->entries) out.push_back(value);
  return make_sequence(Sequence::Kind::kValues, std::move(out));
}

Value items(Interpreter&, const Value& self, CallArguments& arguments) {
  const Bound bound("items", arguments, {});
  std::vector<Value> out;
  for (const auto& [key, value] : self.dict()->entries) out.push_back(make_tuple({key, value}));
  return make_sequence(Sequence::Kind::kItems, std::move(out));
}

Value copy(Interpreter&, const Value& self, CallArguments& arguments) {
  const Bound bound("copy", arguments, {});
  return self;  // nothing can be changed, so that a copy is the same
}

Value list_index(Interpreter&, const Value& self, CallArguments& arguments) {
  const Bound bound("index", arguments, {"value"}, 1);
  const auto& list = self.sequence()->items;
  for (std::size_t i = 0; i < list.size(); ++i)
    if (equal(list[i], bound.value(0))) return Value(static_cast<std::int64_t>(i));
  refuse(repr(bound.value(0)) + " is not in list");
}

Value list_count(Interpreter&, const Value& self, CallArguments& arguments) {
  const Bound bound("count", arguments, {"value"}, 1);
  const auto& list = self.sequence()->items;
  return Value(static_cast<std::int64_t>(
      std::count_if(list.begin(), list.end(), [&](const Value& item) { return equal(item, bound.value(0)); })));
}

// The sandbox that chat templates are written for lets nothing be changed in place.
Value forbidden(Interpreter&, const Value&, CallArguments&) {
  refuse("a chat template cannot change a list or a dict in place (build a new one: list + [item])");
}

constexpr Method kStr[] = {
    {"capitalize", mapped<capitalize>},
    {"casefold", mapped<lower>},
    {"center", pad<0>},
    {"count", count},
    {"endswith", starts_or_ends<true>},
    {"find", find<false, false>},
    {"format", format},
    {"index", find<false, true>},
    {"isalnum", every<alphanumeric>},
    {"isalpha", every<is_alphabetic>},
    {"isdecimal", every<is_digit>},
    {"isdigit", every<is_digit>},
    {"islower", is_case<false>},
    {"isnumeric", every<is_digit>},
    {"isprintable", every<is_printable>},
    {"isspace", every<is_space>},
    {"isupper", is_case<true>},
    {"join", join},
    {"ljust", pad<-1>},
    {"lower", mapped<lower>},
    {"lstrip", stripped<true, false>},
    {"partition", partition<false>},
    {"removeprefix", without<false>},
    {"removesuffix", without<true>},
    {"replace", replace},
    {"rfind", find<true, false>},
    {"rindex", find<true, true>},
    {"rjust", pad<1>},
    {"rpartition", partition<true>},
    {"rsplit", split<true>},
    {"rstrip", stripped<false, true>},
    {"split", split<false>},
    {"splitlines", splitlines},
    {"startswith", starts_or_ends<false>},
    {"strip", stripped<true, true>},
    {"swapcase", mapped<swap_case>},
    {"title", mapped<title_words>},
    {"upper", mapped<upper>},
    {"zfill", zfill},
};
constexpr Method kDict[] = {
    {"get", get},       {"keys", keys},        {"values", values},        {"items", items},     {"copy", copy},
    {"pop", forbidden}, {"update", forbidden}, {"setdefault", forbidden}, {"clear", forbidden}, {"popitem", forbidden}};
constexpr Method kList[] = {{"index", list_index},  {"count", list_count}, {"copy", copy},      {"append", forbidden},
                            {"extend", forbidden},  {"insert", forbidden}, {"pop", forbidden},  {"remove", forbidden},
                            {"reverse", forbidden}, {"sort", forbidden},   {"clear", forbidden}};

}  // namespace

std::optional<Value> bound_method(const Value& self, std::string_view name) {
  std::span<const Method> methods;
  if (self.text() != nullptr) methods = kStr;
  if (self.dict() != nullptr) methods = kDict;
  if (const Sequence* list = self.sequence()) {
    if (list->kind == Sequence::Kind::kList) methods = kList;
    if (list->kind == Sequence::Kind::kTuple || list->kind == Sequence::Kind::kRange)
      methods = std::span(kList).first(2);
  }
  for (const Method& method : methods)
    if (method.name == name) return Value(std::shared_ptr<Object>(std::make_shared<BoundMethod>(self, method)));
  return std::nullopt;
}

}  // namespace kinglet::chat
