// The keywords of one JSON type each.
#include <algorithm>

#include "base/try.h"
#include "decode/grammar/schema_set.h"

namespace kinglet::grammar {
namespace {

Result<std::uint64_t> bound(const Json* value, const char* keyword, std::uint64_t fallback) {
  if (value == nullptr) return fallback;
  if (!value->is_number()) return malformed(keyword);
  const double number = value->get<double>();
  if (!(number >= 0) || number != static_cast<double>(static_cast<std::uint64_t>(std::min(number, 1e18))))
    return malformed(keyword);
  // Longer texts do not exist here, so larger bounds say nothing more.
  return static_cast<std::uint64_t>(std::min(number, 1e9));
}

}  // namespace

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
      absent.object.groups.emplace_back(PropertyGroup{{{name, goal({literal(kTrueSchema, false, true)})}}, {}, 0});
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

}  // namespace kinglet::grammar
