// Keywords of one schema to alternatives, and their negations.
#include "decode/grammar/schema_set.h"

#include <algorithm>

#include "base/try.h"

namespace kinglet::grammar {
namespace {

constexpr int kMostDepth = 200;
constexpr JsonType kTypes[] = {JsonType::kNull,   JsonType::kTrue,  JsonType::kFalse, JsonType::kNumber,
                               JsonType::kString, JsonType::kArray, JsonType::kObject};

constexpr std::string_view kRefused[] = {"contains",         "minContains", "maxContains",   "uniqueItems",
                                         "unevaluatedItems", "$dynamicRef", "$recursiveRef", "unevaluatedProperties"};

}  // namespace

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

tl::unexpected<Error> unsupported(std::string_view what) {
  return fail(ErrorCode::kUnsupported, "JSON Schema: " + std::string(what) + " is not supported");
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

}  // namespace kinglet::grammar
