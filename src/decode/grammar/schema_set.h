// JSON Schemas in normal form: a union of alternatives, each of one JSON type, whose parts are goals (conjunctions of
// schemas and of negated schemas).
#pragma once

#include <array>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "decode/grammar/compile.h"

namespace kinglet::grammar {

using Json = nlohmann::ordered_json;
/// A set of literals that all hold; 0: none, so anything goes.
using GoalId = std::uint32_t;
inline constexpr std::uint64_t kUnbounded = ~std::uint64_t{0};

enum class JsonType { kNull, kTrue, kFalse, kNumber, kString, kArray, kObject };

struct StringSet {
  DfaPtr dfa;  ///< null: any
  std::uint64_t min = 0, max = kUnbounded;
  bool words = false;  ///< a list of texts: written in one way only
};
struct ArraySet {
  std::vector<GoalId> prefix;
  GoalId rest = 0;
  std::uint64_t min = 0, max = kUnbounded;
};
struct PropertyGroup {  ///< properties, patternProperties and additionalProperties of one schema
  std::vector<std::pair<std::string, GoalId>> properties;
  std::vector<std::pair<DfaPtr, GoalId>> patterns;
  GoalId other = 0;
  bool operator==(const PropertyGroup&) const = default;
};
/// Many alternatives have the same ones: they are shared, and equal without a look where they are the same.
class SharedGroup {
 public:
  SharedGroup(PropertyGroup group) : group_(std::make_shared<const PropertyGroup>(std::move(group))) {}
  operator const PropertyGroup&() const { return *group_; }
  bool operator==(const SharedGroup& other) const { return group_ == other.group_ || *group_ == *other.group_; }

 private:
  std::shared_ptr<const PropertyGroup> group_;
};
struct ObjectSet {
  std::vector<SharedGroup> groups;
  std::vector<std::string> required;
  std::uint64_t min = 0, max = kUnbounded;
  GoalId names = 0;
  bool operator==(const ObjectSet&) const = default;
};
struct Alternative {
  JsonType type;
  NumberSet number = {};
  StringSet string = {};
  ArraySet array = {};
  ObjectSet object = {};
};
using Union = std::vector<Alternative>;

/// What is called by name when it is refused.
tl::unexpected<Error> unsupported(std::string_view what);

/// A keyword whose value is of the wrong kind.
tl::unexpected<Error> malformed(std::string_view keyword);

/// Any value of each type; of each but one.
Union everything();
Union all_but(JsonType type);
void append(Union& to, Union from);
/// Magnitudes from here on are no numbers of schemas.
inline constexpr Int128 kFar = kUnit * 1'000'000'000'000 * 100'000'000;
inline const Json kTrueSchema(true);

class SchemaSets {
 public:
  explicit SchemaSets(const Json& root, Budget& budget);

  GoalId goal_of(const Json& schema) { return goal({literal(schema, false, false)}); }
  GoalId both(GoalId a, GoalId b);
  /// The normal form; stays valid.
  Result<const Union*> alternatives(GoalId goal);
  /// Some value meets it.
  Result<bool> satisfiable(GoalId goal);
  /// `false` is among its schemas.
  bool is_never(GoalId goal) const;
  Result<bool> nonempty(const Alternative& alternative);
  /// What a property of this name must meet.
  GoalId property_goal(const ObjectSet& object, std::string_view name) const;
  GoalId merged(const std::vector<GoalId>& goals);
  /// Names that meet `names`; null: all.
  Result<DfaPtr> name_language(GoalId names);
  Result<bool> name_allowed(GoalId names, std::string_view name);
  Budget& budget() { return budget_; }

 private:
  using Literal = std::uint32_t;  ///< index * 2, + 1 where negated
  struct Source {
    const Json* json;
    bool equals;  ///< the value itself, not a schema
  };
  const Json* find(const Json& schema, std::string_view keyword) const;
  Result<void> check_keywords(const Json& schema) const;
  Literal literal(const Json& json, bool equals, bool negated);
  GoalId goal(std::vector<Literal> literals);

  Result<const Union*> expand(Literal literal);
  Result<Union> positive(const Json& schema);
  Result<Union> negative(const Json& schema);
  Result<Union> applicators(const Json& schema, Union set);
  Result<Union> one_of(const Json& list, Union set);
  Result<Union> if_then_else(const Json& schema, Union set);
  Result<Union> enumeration(const Json& list);
  Result<Union> equal_to(const Json& value, bool negated);
  Result<Union> schema_union(const Json& schema, bool negated);
  Result<Union> negated_objects(const Json& schema);
  Result<Union> negated_arrays(const Json& schema);
  Result<Union> dependents(const Json& schema, Union set);
  Result<NumberSet> numbers(const Json& schema);
  Result<StringSet> strings(const Json& schema);
  Result<ArraySet> arrays(const Json& schema);
  Result<ObjectSet> objects(const Json& schema);
  Result<Union> meet(const Union& a, const Union& b);
  Result<std::optional<Alternative>> meet(const Alternative& a, const Alternative& b);
  Result<const Json*> resolve(const Json& schema, std::string_view ref);
  void index(const Json& value, const Json* base, std::string uri, int depth);
  Result<DfaPtr> pattern(const std::string& text);

  Budget& budget_;
  const Json& root_;
  std::vector<Source> sources_;
  std::map<std::pair<const Json*, bool>, std::uint32_t> source_ids_;
  std::vector<std::vector<Literal>> goals_;
  std::map<std::vector<Literal>, GoalId> goal_ids_;
  std::unordered_map<Literal, Union> expanded_;
  std::map<Literal, bool> expanding_;
  std::unordered_map<GoalId, Union> unions_;
  std::unordered_map<GoalId, bool> satisfiable_;
  std::map<GoalId, bool> deciding_;
  bool met_cycle_ = false;
  std::unordered_map<std::string, DfaPtr> patterns_;
  std::map<std::string, const Json*> anchors_;                                  ///< absolute URI, with anchor
  std::unordered_map<const Json*, std::pair<const Json*, std::string>> bases_;  ///< of schemas with $ref
  int depth_ = 0;
  int draft_ = 12;  ///< of JSON Schema; 3 to 7 as "$schema" says. Before 6, 1.0 was no integer
};

/// A number of a schema in units of 10^-12. Magnitudes above 10^20 are given as that.
Result<Int128> exact_number(const Json& value);

}  // namespace kinglet::grammar
