// Keywords of one schema to alternatives, and their negations.
#include "decode/grammar/schema_set.h"

#include <algorithm>
#include <charconv>
#include <numeric>

#include "base/json.h"
#include "base/try.h"

namespace kinglet::grammar {
namespace {

constexpr std::size_t kMostAlternatives = 4'000;
constexpr int kMostDepth = 200;
constexpr JsonType kTypes[] = {JsonType::kNull,   JsonType::kTrue,  JsonType::kFalse, JsonType::kNumber,
                               JsonType::kString, JsonType::kArray, JsonType::kObject};
constexpr Int128 kFar = kUnit * 1'000'000'000'000 * 100'000'000;
const Json kTrueSchema(true);

Union everything() {
  Union all;
  for (const JsonType type : kTypes) all.push_back({.type = type});
  return all;
}

Union all_but(JsonType type) {
  Union out = everything();
  std::erase_if(out, [&](const Alternative& a) { return a.type == type; });
  return out;
}

void append(Union& to, Union from) {
  to.insert(to.end(), std::make_move_iterator(from.begin()), std::make_move_iterator(from.end()));
}

tl::unexpected<Error> malformed(std::string_view keyword) {
  return fail(ErrorCode::kInvalidArgument, "JSON Schema: the value of \"" + std::string(keyword) + "\" is malformed");
}

Result<std::uint64_t> bound(const Json* value, const char* keyword, std::uint64_t fallback) {
  if (value == nullptr) return fallback;
  if (!value->is_number()) return malformed(keyword);
  const double number = value->get<double>();
  if (!(number >= 0) || number != static_cast<double>(static_cast<std::uint64_t>(std::min(number, 1e18))))
    return malformed(keyword);
  // Longer texts do not exist here, so larger bounds say nothing more.
  return static_cast<std::uint64_t>(std::min(number, 1e9));
}

Int128 gcd(Int128 a, Int128 b) {
  while (b != 0) {
    const Int128 rest = a % b;
    a = b, b = rest;
  }
  return a;
}

Result<NumberSet> meet_numbers(const NumberSet& a, const NumberSet& b) {
  NumberSet out = a;
  if (b.has_lo && (!a.has_lo || b.lo > a.lo || (b.lo == a.lo && b.lo_open)))
    out.has_lo = true, out.lo = b.lo, out.lo_open = b.lo_open;
  if (b.has_hi && (!a.has_hi || b.hi < a.hi || (b.hi == a.hi && b.hi_open)))
    out.has_hi = true, out.hi = b.hi, out.hi_open = b.hi_open;
  if (b.step != 0) {
    if (a.step != 0) {
      const Int128 factor = b.step / gcd(a.step, b.step);
      if (factor > kFar / a.step) return unsupported("multipleOf with a common multiple this large");
      out.step = a.step * factor;
    } else {
      out.step = b.step;
    }
  }
  out.plain = a.plain || b.plain;
  if (a.fraction == NumberSet::Fraction::kAny) {
    out.fraction = b.fraction;
  } else if (b.fraction != NumberSet::Fraction::kAny && a.fraction != b.fraction) {
    out.has_lo = out.has_hi = true, out.lo = 1, out.hi = 0;
  }
  return out;
}

constexpr std::string_view kRefused[] = {"contains",         "minContains", "maxContains",   "uniqueItems",
                                         "unevaluatedItems", "$dynamicRef", "$recursiveRef", "unevaluatedProperties"};

}  // namespace

tl::unexpected<Error> unsupported(std::string_view what) {
  return fail(ErrorCode::kUnsupported, "JSON Schema: " + std::string(what) + " is not supported");
}

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

SchemaSets::SchemaSets(const Json& root, Budget& budget) : budget_(budget), root_(root) {
  goals_.emplace_back();
  goal_ids_[{}] = 0;
  index(root, &root, "", 0);
  const auto written = root.is_object() ? root.find("$schema") : root.end();
  if (written == root.end() || !written->is_string()) return;
  constexpr std::string_view kPrefix = "http://json-schema.org/draft-0";
  const std::string_view name = written->get_ref<const std::string&>();
  if (name.starts_with(kPrefix) && name.size() > kPrefix.size()) draft_ = name[kPrefix.size()] - '0';
}

/// Keywords that the schema's draft does not know are annotations.
const Json* SchemaSets::find(const Json& schema, std::string_view keyword) const {
  static constexpr struct {
    std::string_view keyword;
    int since;
  } kSince[] = {{"const", 6},       {"contains", 6},          {"propertyNames", 6},
                {"if", 7},          {"dependentRequired", 8}, {"dependentSchemas", 8},
                {"prefixItems", 8}, {"unevaluatedItems", 8},  {"unevaluatedProperties", 8},
                {"minContains", 8}, {"maxContains", 8}};
  const auto it = schema.find(keyword);
  if (it == schema.end()) return nullptr;
  for (const auto& [name, since] : kSince)
    if (draft_ < since && keyword == name) return nullptr;
  return &*it;
}

SchemaSets::Literal SchemaSets::literal(const Json& json, bool equals, bool negated) {
  const auto [place, fresh] =
      source_ids_.emplace(std::pair(&json, equals), static_cast<std::uint32_t>(sources_.size()));
  if (fresh) sources_.push_back({&json, equals});
  return place->second * 2 + (negated ? 1 : 0);
}

GoalId SchemaSets::goal(std::vector<Literal> literals) {
  std::erase_if(literals, [&](Literal l) {
    const Source& source = sources_[l / 2];
    return l % 2 == 0 && !source.equals &&
           ((source.json->is_boolean() && source.json->get<bool>()) ||
            (source.json->is_object() && source.json->empty()));
  });
  std::sort(literals.begin(), literals.end());
  literals.erase(std::unique(literals.begin(), literals.end()), literals.end());
  const auto [place, fresh] = goal_ids_.emplace(literals, static_cast<GoalId>(goals_.size()));
  if (fresh) goals_.push_back(std::move(literals));
  return place->second;
}

GoalId SchemaSets::both(GoalId a, GoalId b) {
  if (a == 0 || a == b) return b;
  if (b == 0) return a;
  std::vector<Literal> all = goals_[a];
  all.insert(all.end(), goals_[b].begin(), goals_[b].end());
  return goal(std::move(all));
}

bool SchemaSets::is_never(GoalId id) const {
  const auto& literals = goals_[id];
  return std::any_of(literals.begin(), literals.end(), [&](Literal l) {
    const Source& source = sources_[l / 2];
    return !source.equals && source.json->is_boolean() && source.json->get<bool>() == (l % 2 == 1);
  });
}

GoalId SchemaSets::merged(const std::vector<GoalId>& goals) {
  GoalId all = 0;
  for (const GoalId g : goals) all = both(all, g);
  return all;
}

Result<const Union*> SchemaSets::alternatives(GoalId id) {
  if (const auto known = unions_.find(id); known != unions_.end()) return &known->second;
  Union set = everything();
  const std::vector<Literal> literals = goals_[id];
  for (const Literal l : literals) {
    KINGLET_TRY(const Union* next, expand(l));
    KINGLET_TRY(set, meet(set, *next));
  }
  return &(unions_[id] = std::move(set));
}

Result<const Union*> SchemaSets::expand(Literal l) {
  if (const auto known = expanded_.find(l); known != expanded_.end()) return &known->second;
  if (!expanding_.emplace(l, true).second)
    return fail(ErrorCode::kUnsupported, "JSON Schema: a reference that leads back to itself without reading anything");
  if (++depth_ > kMostDepth) return over_budget("nesting of schemas");
  const Source source = sources_[l / 2];
  KINGLET_TRY(Union set, source.equals ? equal_to(*source.json, l % 2 == 1) : schema_union(*source.json, l % 2 == 1));
  expanding_.erase(l);
  --depth_;
  return &(expanded_[l] = std::move(set));
}

Result<void> SchemaSets::check_keywords(const Json& schema) const {
  for (const auto keyword : kRefused) {
    const Json* value = find(schema, keyword);
    if (value == nullptr) continue;
    if (keyword == "uniqueItems" && value->is_boolean() && !value->get<bool>()) continue;
    if ((keyword == "minContains" || keyword == "maxContains") && find(schema, "contains") == nullptr) continue;
    if ((keyword == "unevaluatedItems" || keyword == "unevaluatedProperties") && value->is_boolean() &&
        value->get<bool>())
      continue;
    return unsupported("\"" + std::string(keyword) + "\"");
  }
  return {};
}

Result<Union> SchemaSets::schema_union(const Json& schema, bool negated) {
  if (!budget_.spend(200)) return over_budget("a JSON Schema");
  if (schema.is_boolean()) return schema.get<bool>() != negated ? everything() : Union{};
  if (!schema.is_object())
    return fail(ErrorCode::kInvalidArgument, "JSON Schema: a schema is an object, true or false");
  if (const Json* ref = draft_ <= 7 ? find(schema, "$ref") : nullptr; ref != nullptr && ref->is_string()) {
    // Until draft 7 nothing that stands beside a "$ref" counts.
    KINGLET_TRY(const Json* target, resolve(schema, ref->get_ref<const std::string&>()));
    KINGLET_TRY(const Union* there, expand(literal(*target, false, negated)));
    return *there;
  }
  KINGLET_CHECK(check_keywords(schema));
  return negated ? negative(schema) : positive(schema);
}

Result<Union> SchemaSets::positive(const Json& schema) {
  bool allowed[7] = {true, true, true, true, true, true, true};
  bool integer = false;
  if (const Json* type = find(schema, "type")) {
    std::fill(allowed, allowed + 7, false);
    bool number = false;
    for (const Json& name : type->is_array() ? *type : Json::array({*type})) {
      if (name == "null")
        allowed[0] = true;
      else if (name == "boolean")
        allowed[1] = allowed[2] = true;
      else if (name == "number")
        allowed[3] = number = true;
      else if (name == "integer")
        allowed[3] = integer = true;
      else if (name == "string")
        allowed[4] = true;
      else if (name == "array")
        allowed[5] = true;
      else if (name == "object")
        allowed[6] = true;
      else
        return malformed("type");
    }
    if (number) integer = false;
  }
  Union set;
  for (int t = 0; t < 7; ++t) {
    if (!allowed[t]) continue;
    Alternative a{.type = kTypes[t]};
    if (a.type == JsonType::kNumber) {
      KINGLET_TRY(a.number, numbers(schema));
      if (integer) a.number.fraction = NumberSet::Fraction::kZero, a.number.plain = draft_ < 6;
    } else if (a.type == JsonType::kString) {
      KINGLET_TRY(a.string, strings(schema));
    } else if (a.type == JsonType::kArray) {
      KINGLET_TRY(a.array, arrays(schema));
    } else if (a.type == JsonType::kObject) {
      KINGLET_TRY(a.object, objects(schema));
    }
    set.push_back(std::move(a));
  }
  KINGLET_TRY(set, dependents(schema, std::move(set)));
  return applicators(schema, std::move(set));
}

Result<Union> SchemaSets::applicators(const Json& schema, Union set) {
  if (const Json* ref = find(schema, "$ref")) {
    if (!ref->is_string()) return malformed("$ref");
    KINGLET_TRY(const Json* target, resolve(schema, ref->get_ref<const std::string&>()));
    KINGLET_TRY(const Union* there, expand(literal(*target, false, false)));
    KINGLET_TRY(set, meet(set, *there));
  }
  if (const Json* value = find(schema, "const")) {
    KINGLET_TRY(const Union* equal, expand(literal(*value, true, false)));
    KINGLET_TRY(set, meet(set, *equal));
  }
  if (const Json* list = find(schema, "enum")) {
    KINGLET_TRY(const Union one, enumeration(*list));
    KINGLET_TRY(set, meet(set, one));
  }
  if (const Json* list = find(schema, "allOf")) {
    if (!list->is_array()) return malformed("allOf");
    for (const Json& part : *list) {
      KINGLET_TRY(const Union* one, expand(literal(part, false, false)));
      KINGLET_TRY(set, meet(set, *one));
    }
  }
  if (const Json* list = find(schema, "anyOf")) {
    if (!list->is_array()) return malformed("anyOf");
    Union any;
    for (const Json& part : *list) {
      KINGLET_TRY(const Union* one, expand(literal(part, false, false)));
      append(any, *one);
    }
    KINGLET_TRY(set, meet(set, any));
  }
  if (const Json* list = find(schema, "oneOf")) {
    if (!list->is_array()) return malformed("oneOf");
    KINGLET_TRY(set, one_of(*list, std::move(set)));
  }
  if (const Json* part = find(schema, "not")) {
    KINGLET_TRY(const Union* none, expand(literal(*part, false, true)));
    KINGLET_TRY(set, meet(set, *none));
  }
  return if_then_else(schema, std::move(set));
}

Result<Union> SchemaSets::one_of(const Json& list, Union set) {
  std::vector<Union> parts;
  for (const Json& part : list) {
    KINGLET_TRY(const Union* one, expand(literal(part, false, false)));
    KINGLET_TRY(Union here, meet(set, *one));
    parts.push_back(std::move(here));
  }
  Union out;
  const std::size_t count = parts.size();
  std::vector<std::vector<bool>> meets(count, std::vector<bool>(count, false));
  for (std::size_t i = 0; i < count; ++i)
    for (std::size_t j = 0; j < i; ++j) {
      KINGLET_TRY(const Union common, meet(parts[i], parts[j]));
      for (const Alternative& a : common) {
        KINGLET_TRY(const bool some, nonempty(a));
        if (some) meets[i][j] = meets[j][i] = true;
      }
    }
  for (std::size_t i = 0; i < count; ++i) {
    Union one = parts[i];
    for (std::size_t j = 0; j < count; ++j) {
      if (!meets[i][j]) continue;
      KINGLET_TRY(const Union* other, expand(literal(list[j], false, true)));
      KINGLET_TRY(one, meet(one, *other));
    }
    append(out, std::move(one));
  }
  return out;
}

Result<Union> SchemaSets::if_then_else(const Json& schema, Union set) {
  const Json* condition = find(schema, "if");
  const Json *then = find(schema, "then"), *otherwise = find(schema, "else");
  if (condition == nullptr || (then == nullptr && otherwise == nullptr)) return set;
  KINGLET_TRY(const Union* yes, expand(literal(*condition, false, false)));
  KINGLET_TRY(const Union* no, expand(literal(*condition, false, true)));
  KINGLET_TRY(const Union* first, expand(literal(then != nullptr ? *then : kTrueSchema, false, false)));
  KINGLET_TRY(const Union* second, expand(literal(otherwise != nullptr ? *otherwise : kTrueSchema, false, false)));
  KINGLET_TRY(Union either, meet(*yes, *first));
  KINGLET_TRY(Union rest, meet(*no, *second));
  append(either, std::move(rest));
  return meet(set, either);
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
      missing.object.groups.push_back({{{name, goal({literal(kTrueSchema, false, true)})}}, {}, 0});
      other.object.groups.push_back({{{name, goal({literal(item, true, true)})}}, {}, 0});
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

Result<NumberSet> SchemaSets::numbers(const Json& schema) {
  NumberSet out;
  const auto at_least = [&](Int128 value, bool open) {
    if (value <= -kFar) return;
    if (!out.has_lo || value > out.lo || (value == out.lo && open))
      out.has_lo = true, out.lo = value, out.lo_open = open;
  };
  const auto at_most = [&](Int128 value, bool open) {
    if (value >= kFar) return;
    if (!out.has_hi || value < out.hi || (value == out.hi && open))
      out.has_hi = true, out.hi = value, out.hi_open = open;
  };
  for (const char* keyword : {"minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum"}) {
    const Json* value = find(schema, keyword);
    if (value == nullptr) continue;
    const bool low = std::string_view(keyword).ends_with("inimum"), open = keyword[0] == 'e';
    if (open && value->is_boolean()) {  // draft 4: says how minimum and maximum are meant
      const Json* partner = find(schema, low ? "minimum" : "maximum");
      if (!value->get<bool>() || partner == nullptr || !partner->is_number()) continue;
      value = partner;
    }
    if (!value->is_number()) return malformed(keyword);
    KINGLET_TRY(const Int128 exact, exact_number(*value));
    if (low ? exact >= kFar : exact <= -kFar) return unsupported("a bound above 10^20");
    low ? at_least(exact, open) : at_most(exact, open);
  }
  if (const Json* step = find(schema, "multipleOf")) {
    if (!step->is_number()) return malformed("multipleOf");
    KINGLET_TRY(out.step, exact_number(*step));
    if (out.step <= 0) return malformed("multipleOf");
    if (out.step >= kFar) return unsupported("multipleOf above 10^20");
  }
  return out;
}

Result<DfaPtr> SchemaSets::pattern(const std::string& text) {
  if (const auto known = patterns_.find(text); known != patterns_.end()) return known->second;
  KINGLET_TRY(const AstPtr ast, parse_regex(text, budget_));
  KINGLET_TRY(DfaPtr dfa, make_dfa(ast, true, budget_));
  return patterns_[text] = dfa;
}

Result<StringSet> SchemaSets::strings(const Json& schema) {
  StringSet out;
  KINGLET_TRY(out.min, bound(find(schema, "minLength"), "minLength", 0));
  KINGLET_TRY(out.max, bound(find(schema, "maxLength"), "maxLength", kUnbounded));
  if (const Json* text = find(schema, "pattern")) {
    if (!text->is_string()) return malformed("pattern");
    KINGLET_TRY(out.dfa, pattern(text->get_ref<const std::string&>()));
  }
  if (const Json* format = find(schema, "format")) {
    if (!format->is_string()) return malformed("format");
    const std::string& name = format->get_ref<const std::string&>();
    auto& known = patterns_["format " + name];
    if (!known) {
      KINGLET_TRY(const AstPtr ast, format_pattern(name, budget_));
      if (!ast) return out;
      KINGLET_TRY(known, make_dfa(ast, false, budget_));
    }
    if (name == "hostname") out.max = std::min<std::uint64_t>(out.max, 253);
    KINGLET_TRY(out.dfa, intersect(out.dfa, known, budget_));
  }
  return out;
}

Result<ArraySet> SchemaSets::arrays(const Json& schema) {
  ArraySet out;
  KINGLET_TRY(out.min, bound(find(schema, "minItems"), "minItems", 0));
  KINGLET_TRY(out.max, bound(find(schema, "maxItems"), "maxItems", kUnbounded));
  const Json *prefix = find(schema, "prefixItems"), *items = find(schema, "items");
  if (items != nullptr && items->is_array()) {  // as drafts before 2020-12 had it
    prefix = items;
    items = find(schema, "additionalItems");
  }
  if (prefix != nullptr) {
    if (!prefix->is_array()) return malformed("prefixItems");
    for (const Json& item : *prefix) out.prefix.push_back(goal_of(item));
  }
  if (items != nullptr) out.rest = goal_of(*items);
  return out;
}

Result<ObjectSet> SchemaSets::objects(const Json& schema) {
  ObjectSet out;
  KINGLET_TRY(out.min, bound(find(schema, "minProperties"), "minProperties", 0));
  KINGLET_TRY(out.max, bound(find(schema, "maxProperties"), "maxProperties", kUnbounded));
  if (const Json* names = find(schema, "required"); names != nullptr && names->is_array()) {
    if (names->size() > 4000) return over_budget("required properties");
    for (const Json& name : *names) {
      if (!name.is_string()) return malformed("required");
      const std::string& text = name.get_ref<const std::string&>();
      if (std::find(out.required.begin(), out.required.end(), text) == out.required.end()) out.required.push_back(text);
    }
  } else if (names != nullptr && !names->is_boolean()) {
    return malformed("required");
  }
  if (const Json* names = find(schema, "propertyNames")) out.names = goal_of(*names);
  PropertyGroup group;
  if (const Json* list = find(schema, "properties")) {
    if (!list->is_object()) return malformed("properties");
    for (const auto& [name, part] : list->items()) group.properties.emplace_back(name, goal_of(part));
  }
  if (const Json* list = find(schema, "patternProperties")) {
    if (!list->is_object()) return malformed("patternProperties");
    for (const auto& [text, part] : list->items()) {
      KINGLET_TRY(DfaPtr dfa, pattern(text));
      group.patterns.emplace_back(std::move(dfa), goal_of(part));
    }
  }
  if (const Json* other = find(schema, "additionalProperties")) group.other = goal_of(*other);
  if (!group.properties.empty() || !group.patterns.empty() || group.other != 0) out.groups.push_back(std::move(group));
  return out;
}

Result<Union> SchemaSets::dependents(const Json& schema, Union set) {
  for (const char* keyword : {"dependentRequired", "dependentSchemas", "dependencies"}) {
    const Json* list = find(schema, keyword);
    if (list == nullptr) continue;
    if (!list->is_object()) return malformed(keyword);
    for (const auto& [name, part] : list->items()) {
      Union either = all_but(JsonType::kObject);
      Alternative absent{.type = JsonType::kObject}, present{.type = JsonType::kObject};
      absent.object.groups.push_back({{{name, goal({literal(kTrueSchema, false, true)})}}, {}, 0});
      either.push_back(std::move(absent));
      present.object.required.push_back(name);
      if (part.is_array()) {
        for (const Json& other : part)
          if (other.is_string() && other != name) present.object.required.push_back(other.get<std::string>());
        either.push_back(std::move(present));
      } else {
        KINGLET_TRY(const Union* there, expand(literal(part, false, false)));
        KINGLET_TRY(Union both_hold, meet({std::move(present)}, *there));
        append(either, std::move(both_hold));
      }
      KINGLET_TRY(set, meet(set, either));
    }
  }
  return set;
}

Result<std::optional<Alternative>> SchemaSets::meet(const Alternative& a, const Alternative& b) {
  Alternative out = a;
  switch (a.type) {
    case JsonType::kNumber: {
      KINGLET_TRY(out.number, meet_numbers(a.number, b.number));
      if (out.number.empty()) return std::nullopt;
      break;
    }
    case JsonType::kString: {
      KINGLET_TRY(out.string.dfa, intersect(a.string.dfa, b.string.dfa, budget_));
      out.string.min = std::max(a.string.min, b.string.min);
      out.string.max = std::min(a.string.max, b.string.max);
      out.string.words = a.string.words || b.string.words;
      if (out.string.min > out.string.max || (out.string.dfa && out.string.dfa->empty())) return std::nullopt;
      break;
    }
    case JsonType::kArray: {
      ArraySet& array = out.array;
      const std::size_t count = std::max(a.array.prefix.size(), b.array.prefix.size());
      const auto item = [](const ArraySet& set, std::size_t i) {
        return i < set.prefix.size() ? set.prefix[i] : set.rest;
      };
      array.prefix.clear();
      for (std::size_t i = 0; i < count; ++i) array.prefix.push_back(both(item(a.array, i), item(b.array, i)));
      array.rest = both(a.array.rest, b.array.rest);
      array.min = std::max(a.array.min, b.array.min);
      array.max = std::min(a.array.max, b.array.max);
      if (array.min > array.max) return std::nullopt;
      break;
    }
    case JsonType::kObject: {
      ObjectSet& object = out.object;
      object.groups.insert(object.groups.end(), b.object.groups.begin(), b.object.groups.end());
      for (const std::string& name : b.object.required)
        if (std::find(object.required.begin(), object.required.end(), name) == object.required.end())
          object.required.push_back(name);
      object.min = std::max(a.object.min, b.object.min);
      object.max = std::min(a.object.max, b.object.max);
      object.names = both(a.object.names, b.object.names);
      if (object.min > object.max) return std::nullopt;
      for (const std::string& name : object.required)  // required and forbidden is the common way to be empty
        if (is_never(property_goal(object, name))) return std::nullopt;
      break;
    }
    default:
      break;
  }
  return out;
}

Result<Union> SchemaSets::meet(const Union& a, const Union& b) {
  Union out;
  for (const Alternative& x : a)
    for (const Alternative& y : b) {
      if (x.type != y.type) continue;
      if (!budget_.spend(50)) return over_budget("a JSON Schema");
      KINGLET_TRY(auto both_hold, meet(x, y));
      if (both_hold) out.push_back(std::move(*both_hold));
      if (out.size() > kMostAlternatives) return over_budget("combined schemas");
    }
  return out;
}

}  // namespace kinglet::grammar
