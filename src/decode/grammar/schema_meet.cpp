// What meets two schemas at once.
#include <algorithm>

#include "base/try.h"
#include "decode/grammar/schema_set.h"

namespace kinglet::grammar {
namespace {

constexpr std::size_t kMostAlternatives = 4'000;

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

}  // namespace

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
