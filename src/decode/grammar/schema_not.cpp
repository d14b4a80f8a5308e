// Negated schemas: the union of what breaks one keyword each.
#include <algorithm>

#include "base/try.h"
#include "decode/grammar/schema_set.h"

namespace kinglet::grammar {
namespace {

const Json kNever(false);

}  // namespace

Result<Union> SchemaSets::negated_arrays(const Json& schema) {
  KINGLET_TRY(const ArraySet set, arrays(schema));
  Union out;
  const auto item_breaks = [&](std::size_t at, GoalId broken) {
    Alternative a{.type = JsonType::kArray};
    a.array.min = at + 1;
    a.array.prefix.assign(at, 0);
    a.array.prefix.push_back(broken);
    out.push_back(std::move(a));
  };
  if (set.min > 0) {
    Alternative a{.type = JsonType::kArray};
    a.array.max = set.min - 1;
    out.push_back(std::move(a));
  }
  if (set.max != kUnbounded) {
    Alternative a{.type = JsonType::kArray};
    a.array.min = set.max + 1;
    out.push_back(std::move(a));
  }
  for (std::size_t i = 0; i < set.prefix.size(); ++i) {
    const std::vector<Literal> literals = goals_[set.prefix[i]];
    for (const Literal l : literals) item_breaks(i, goal({l ^ 1}));
  }
  if (set.rest != 0) {
    KINGLET_TRY(const bool some, satisfiable(set.rest));
    if (some && set.max == kUnbounded)
      return unsupported("\"items\" under \"not\", \"if\" or an overlapping \"oneOf\"");
    const std::vector<Literal> literals = goals_[set.rest];
    const std::size_t last = some ? static_cast<std::size_t>(set.max) : set.prefix.size() + 1;
    if (last > 1000) return over_budget("\"items\" under \"not\"");
    for (std::size_t i = set.prefix.size(); i < last; ++i)
      for (const Literal l : literals) item_breaks(i, goal({l ^ 1}));
  }
  return out;
}

Result<Union> SchemaSets::negated_objects(const Json& schema) {
  KINGLET_TRY(const ObjectSet set, objects(schema));
  Union out;
  const GoalId never = goal({literal(kNever, false, false)});
  const auto with = [&](std::string name, GoalId value, bool required) {
    Alternative a{.type = JsonType::kObject};
    if (required) a.object.required.push_back(name);
    a.object.groups.emplace_back(PropertyGroup{{{std::move(name), value}}, {}, 0});
    out.push_back(std::move(a));
  };
  if (set.min > 0) {
    Alternative a{.type = JsonType::kObject};
    a.object.max = set.min - 1;
    out.push_back(std::move(a));
  }
  if (set.max != kUnbounded) {
    Alternative a{.type = JsonType::kObject};
    a.object.min = set.max + 1;
    out.push_back(std::move(a));
  }
  for (const std::string& name : set.required) with(name, never, false);
  if (set.names != 0) return unsupported("\"propertyNames\" under \"not\", \"if\" or an overlapping \"oneOf\"");
  for (const PropertyGroup& group : set.groups) {
    if (!group.patterns.empty())
      return unsupported("\"patternProperties\" under \"not\", \"if\" or an overlapping \"oneOf\"");
    if (group.other != 0)
      return unsupported("\"additionalProperties\" under \"not\", \"if\" or an overlapping \"oneOf\"");
    for (const auto& [name, value] : group.properties) {
      const std::vector<Literal> literals = goals_[value];
      for (const Literal l : literals) with(name, goal({l ^ 1}), true);
    }
  }
  for (const char* keyword : {"dependentRequired", "dependentSchemas", "dependencies"})
    if (const Json* it = find(schema, keyword); it != nullptr && !it->empty()) {
      if (std::string_view(keyword) != "dependentRequired")
        return unsupported("\"" + std::string(keyword) + "\" under \"not\", \"if\" or an overlapping \"oneOf\"");
      for (const auto& [name, list] : it->items())
        for (const Json& other : list) {
          if (!other.is_string() || other == name) continue;
          with(other.get<std::string>(), never, false);
          out.back().object.required.push_back(name);
        }
    }
  return out;
}

Result<Union> SchemaSets::negative(const Json& schema) {
  Union out;
  const auto add_literal = [&](const Json& json, bool equals, bool negated) -> Result<void> {
    KINGLET_TRY(const Union* one, expand(literal(json, equals, negated)));
    append(out, *one);
    return {};
  };
  if (const auto type = schema.find("type"); type != schema.end()) {
    KINGLET_TRY(const Union allowed, positive(Json{{"type", *type}}));
    for (const JsonType t : {JsonType::kNull, JsonType::kTrue, JsonType::kFalse, JsonType::kNumber, JsonType::kString,
                             JsonType::kArray, JsonType::kObject}) {
      const auto found = std::find_if(allowed.begin(), allowed.end(), [&](const auto& a) { return a.type == t; });
      Alternative a{.type = t};
      if (found != allowed.end()) {
        if (t != JsonType::kNumber || found->number.fraction == NumberSet::Fraction::kAny) continue;
        a.number.fraction = NumberSet::Fraction::kNonZero;
      }
      out.push_back(std::move(a));
    }
  }
  KINGLET_TRY(const NumberSet number, numbers(schema));
  if (number.step != 0) return unsupported("\"multipleOf\" under \"not\", \"if\" or an overlapping \"oneOf\"");
  if (number.has_lo) {
    Alternative a{.type = JsonType::kNumber};
    a.number.has_hi = true, a.number.hi = number.lo, a.number.hi_open = !number.lo_open;
    out.push_back(std::move(a));
  }
  if (number.has_hi) {
    Alternative a{.type = JsonType::kNumber};
    a.number.has_lo = true, a.number.lo = number.hi, a.number.lo_open = !number.hi_open;
    out.push_back(std::move(a));
  }
  KINGLET_TRY(const StringSet text, strings(schema));
  if (text.min > 0) out.push_back({.type = JsonType::kString, .string = {nullptr, 0, text.min - 1, false}});
  if (text.max != kUnbounded)
    out.push_back({.type = JsonType::kString, .string = {nullptr, text.max + 1, kUnbounded, false}});
  if (text.dfa) {
    Alternative a{.type = JsonType::kString};
    KINGLET_TRY(a.string.dfa, complement(text.dfa, budget_));
    out.push_back(std::move(a));
  }
  KINGLET_TRY(const Union array, negated_arrays(schema));
  append(out, array);
  KINGLET_TRY(const Union object, negated_objects(schema));
  append(out, object);

  if (const auto ref = schema.find("$ref"); ref != schema.end()) {
    if (!ref->is_string()) return unsupported("a \"$ref\" that is no string");
    KINGLET_TRY(const Json* target, resolve(schema, ref->get_ref<const std::string&>()));
    KINGLET_CHECK(add_literal(*target, false, true));
  }
  if (const Json* value = find(schema, "const")) KINGLET_CHECK(add_literal(*value, true, true));
  if (const auto list = schema.find("enum"); list != schema.end()) {
    Union none = {};
    bool first = true;
    for (const Json& value : *list) {
      KINGLET_TRY(const Union* one, expand(literal(value, true, true)));
      if (first)
        none = *one;
      else {
        KINGLET_TRY(none, meet(none, *one));
      }
      first = false;
    }
    append(out, none);
  }
  if (const auto list = schema.find("allOf"); list != schema.end())
    for (const Json& part : *list) KINGLET_CHECK(add_literal(part, false, true));
  if (const auto list = schema.find("anyOf"); list != schema.end()) {
    std::vector<Literal> all;
    for (const Json& part : *list) all.push_back(literal(part, false, true));
    KINGLET_TRY(const Union* none, alternatives(goal(std::move(all))));
    append(out, *none);
  }
  if (const auto list = schema.find("oneOf"); list != schema.end()) {
    std::vector<Literal> all;
    for (std::size_t i = 0; i < list->size(); ++i) {
      all.push_back(literal((*list)[i], false, true));
      for (std::size_t j = 0; j < i; ++j) {
        KINGLET_TRY(const Union* two,
                    alternatives(goal({literal((*list)[i], false, false), literal((*list)[j], false, false)})));
        append(out, *two);
      }
    }
    KINGLET_TRY(const Union* none, alternatives(goal(std::move(all))));
    append(out, *none);
  }
  if (const auto part = schema.find("not"); part != schema.end()) KINGLET_CHECK(add_literal(*part, false, false));
  if (const Json* part = find(schema, "if")) {
    for (const char* keyword : {"then", "else"})
      if (const auto branch = schema.find(keyword); branch != schema.end()) {
        KINGLET_TRY(const Union* two,
                    alternatives(goal({literal(*part, false, keyword[0] == 'e'), literal(*branch, false, true)})));
        append(out, *two);
      }
  }
  return out;
}

}  // namespace kinglet::grammar
