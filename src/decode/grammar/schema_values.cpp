// "const" and "enum": a value as a set of itself, and all others.
#include <charconv>

#include "base/try.h"
#include "decode/grammar/schema_set.h"

namespace kinglet::grammar {

Result<Int128> exact_number(const Json& value) {
  char buffer[64];
  std::to_chars_result end{};
  if (value.is_number_unsigned())
    end = std::to_chars(buffer, buffer + 64, value.get<std::uint64_t>());
  else if (value.is_number_integer())
    end = std::to_chars(buffer, buffer + 64, value.get<std::int64_t>());
  else
    end = std::to_chars(buffer, buffer + 64, value.get<double>(), std::chars_format::scientific);
  std::string_view text(buffer, static_cast<std::size_t>(end.ptr - buffer));
  const bool negative = text.starts_with('-');
  if (negative) text.remove_prefix(1);
  Int128 digits = 0;
  int exponent = NumberSet::kScale;
  bool point = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '.') {
      point = true;
    } else if (text[i] == 'e') {
      int written = 0;
      std::from_chars(text.data() + i + (text[i + 1] == '+' ? 2 : 1), text.data() + text.size(), written);
      exponent += written;
      break;
    } else {
      digits = digits * 10 + (text[i] - '0');
      if (point) --exponent;
    }
  }
  for (; exponent > 0 && digits != 0; --exponent) {
    digits *= 10;
    if (digits > kFar) digits = kFar, exponent = 1;
  }
  for (; exponent < 0 && digits != 0; ++exponent) {
    if (digits % 10 != 0) return unsupported("a number with more than 12 decimals");
    digits /= 10;
  }
  return negative ? -digits : digits;
}

Result<Union> SchemaSets::enumeration(const Json& list) {
  if (!list.is_array()) return malformed("enum");
  Union out;
  std::vector<std::u32string> words;
  for (const Json& value : list) {
    if (value.is_string()) {
      auto word = decode_utf8(value.get_ref<const std::string&>());
      if (!word) return malformed("enum");
      words.push_back(std::move(*word));
      continue;
    }
    if (!budget_.hold(3 * sizeof(Alternative))) return over_budget("an enumeration");
    KINGLET_TRY(const Union* one, expand(literal(value, true, false)));
    append(out, *one);
  }
  if (!words.empty()) {
    Alternative a{.type = JsonType::kString};
    KINGLET_TRY(a.string.dfa, make_word_dfa(std::move(words), budget_));
    a.string.words = true;
    out.push_back(std::move(a));
  }
  return out;
}

Result<Union> SchemaSets::equal_to(const Json& value, bool negated) {
  JsonType type = JsonType::kNull;
  if (value.is_boolean())
    type = value.get<bool>() ? JsonType::kTrue : JsonType::kFalse;
  else if (value.is_number())
    type = JsonType::kNumber;
  else if (value.is_string())
    type = JsonType::kString;
  else if (value.is_array())
    type = JsonType::kArray;
  else if (value.is_object())
    type = JsonType::kObject;
  Union out = negated ? all_but(type) : Union{};
  Alternative a{.type = type};
  if (type == JsonType::kNumber) {
    KINGLET_TRY(const Int128 exact, exact_number(value));
    if (exact >= kFar || exact <= -kFar) return unsupported("const or enum with a number above 10^20");
    a.number.has_hi = true, a.number.hi = exact, a.number.hi_open = negated;
    if (negated) out.push_back(a), a.number.has_hi = false;
    a.number.has_lo = true, a.number.lo = exact, a.number.lo_open = negated;
  } else if (type == JsonType::kString) {
    auto word = decode_utf8(value.get_ref<const std::string&>());
    if (!word) return malformed("const");
    KINGLET_TRY(a.string.dfa, make_word_dfa({std::move(*word)}, budget_, negated));
    a.string.words = !negated;
  } else if (type == JsonType::kArray) {
    a.array.min = a.array.max = value.size();
    if (negated) {
      for (std::size_t i = 0; i < value.size(); ++i) {
        Alternative other = a;
        other.array.prefix.assign(i, 0);
        other.array.prefix.push_back(goal({literal(value[i], true, true)}));
        out.push_back(std::move(other));
      }
      Alternative longer{.type = type}, shorter{.type = type};
      longer.array.min = value.size() + 1;
      out.push_back(longer);
      if (value.empty()) return out;
      shorter.array.max = value.size() - 1;
      out.push_back(shorter);
      return out;
    }
    for (const Json& item : value) a.array.prefix.push_back(goal({literal(item, true, false)}));
  } else if (type == JsonType::kObject) {
    PropertyGroup group;
    for (const auto& [name, item] : value.items()) {
      a.object.required.push_back(name);
      group.properties.emplace_back(name, goal({literal(item, true, false)}));
      if (!negated) continue;
      Alternative missing{.type = type}, other{.type = type};
      missing.object.groups.emplace_back(PropertyGroup{{{name, goal({literal(kTrueSchema, false, true)})}}, {}, 0});
      other.object.groups.emplace_back(PropertyGroup{{{name, goal({literal(item, true, true)})}}, {}, 0});
      other.object.required.push_back(name);
      out.push_back(std::move(missing));
      out.push_back(std::move(other));
    }
    if (negated)
      a.object.min = value.size() + 1;
    else
      group.other = goal({literal(kTrueSchema, false, true)});
    if (negated)
      a.object.required.clear();
    else
      a.object.groups.push_back(std::move(group));
  }
  if (type == JsonType::kNull || type == JsonType::kTrue || type == JsonType::kFalse) {
    if (negated) return out;
  }
  out.push_back(std::move(a));
  return out;
}

}  // namespace kinglet::grammar
