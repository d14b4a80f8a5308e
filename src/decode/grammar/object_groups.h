// Objects' alternatives that differ only in which properties must and must not be there.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "decode/grammar/schema_set.h"

namespace kinglet::grammar {

struct PresenceChoice {
  std::set<std::string, std::less<>> required, forbidden;
};
struct ObjectGroup {
  ObjectSet base;  ///< without its required properties, and without groups that only forbid some
  std::vector<PresenceChoice> choices;
};

/// Joins what can be joined, so that n conditions on presence are one object with a few choices and not 2^n objects.
/// Fails over budget.
Result<std::vector<ObjectGroup>> group_objects(const std::vector<const ObjectSet*>& alternatives, SchemaSets& sets);

}  // namespace kinglet::grammar
