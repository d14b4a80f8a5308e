#include "decode/grammar/object_groups.h"

#include <algorithm>

#include "base/try.h"

namespace kinglet::grammar {
namespace {

bool only_forbids(const PropertyGroup& group, const SchemaSets& sets) {
  return group.patterns.empty() && group.other == 0 &&
         std::all_of(group.properties.begin(), group.properties.end(),
                     [&](const auto& property) { return sets.is_never(property.second); });
}

bool within(const PresenceChoice& a, const PresenceChoice& b) {
  return std::includes(a.required.begin(), a.required.end(), b.required.begin(), b.required.end()) &&
         std::includes(a.forbidden.begin(), a.forbidden.end(), b.forbidden.begin(), b.forbidden.end());
}

}  // namespace

Result<std::vector<ObjectGroup>> group_objects(const std::vector<const ObjectSet*>& alternatives, SchemaSets& sets) {
  std::vector<ObjectGroup> groups;
  for (const ObjectSet* alternative : alternatives) {
    PresenceChoice choice;
    choice.required.insert(alternative->required.begin(), alternative->required.end());
    ObjectSet base = *alternative;
    base.required.clear();
    std::erase_if(base.groups, [&](const PropertyGroup& group) {
      if (!only_forbids(group, sets)) return false;
      for (const auto& [name, never] : group.properties) choice.forbidden.insert(name);
      return true;
    });
    if (!sets.budget().spend(20 + 4 * groups.size())) return over_budget("a JSON Schema");
    const auto same = std::find_if(groups.begin(), groups.end(), [&](const auto& group) { return group.base == base; });
    if (same == groups.end()) {
      groups.push_back({std::move(base), {std::move(choice)}});
      continue;
    }
    // What another choice allows as well says nothing.
    auto& choices = same->choices;
    if (!sets.budget().spend(4 * choices.size())) return over_budget("a JSON Schema");
    if (std::any_of(choices.begin(), choices.end(), [&](const auto& other) { return within(choice, other); })) continue;
    std::erase_if(choices, [&](const auto& other) { return within(other, choice); });
    choices.push_back(std::move(choice));
  }
  return groups;
}

}  // namespace kinglet::grammar
