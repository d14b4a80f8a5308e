#include "kinglet/cache_policy.h"

#include <charconv>

#include "base/try.h"

namespace kinglet {
namespace {

std::string known_names() {
  std::string names;
  for (const CachePolicyDescriptor* policy : cache_policies())
    names += (names.empty() ? "" : ", ") + std::string(policy->name);
  return names;
}

Result<void> read_option(const CachePolicyDescriptor& policy, std::string_view part, CachePolicyValues& values) {
  const std::size_t equals = part.find('=');
  const std::string_view key = part.substr(0, equals);
  for (const CachePolicyOption& option : policy.options) {
    if (option.name != key || equals == std::string_view::npos) continue;
    const std::string_view text = part.substr(equals + 1);
    std::int64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error == std::errc() && end == text.data() + text.size() && static_cast<double>(value) >= option.min &&
        static_cast<double>(value) <= option.max) {
      values[std::string(key)] = value;
      return {};
    }
    return fail(ErrorCode::kInvalidArgument, "'" + std::string(text) + "' is no " + std::string(key) +
                                                 " of the cache policy " + std::string(policy.name) +
                                                 ": expected a whole number from " +
                                                 std::to_string(static_cast<std::int64_t>(option.min)) + " to " +
                                                 std::to_string(static_cast<std::int64_t>(option.max)));
  }
  std::string known;
  for (const CachePolicyOption& option : policy.options)
    known += (known.empty() ? "" : ", ") + std::string(option.name) + "=N";
  return fail(ErrorCode::kInvalidArgument,
              "the cache policy " + std::string(policy.name) + " has no option '" + std::string(part) + "'",
              known.empty() ? "It has none." : "It has " + known + ".");
}

}  // namespace

Result<std::unique_ptr<const CachePolicy>> make_cache_policy(std::string_view text, int layers) {
  const std::size_t colon = text.find(':');
  const std::string_view name = text.substr(0, colon);
  for (const CachePolicyDescriptor* policy : cache_policies()) {
    if (policy->name != name) continue;
    CachePolicyValues values;
    for (const CachePolicyOption& option : policy->options)
      values[std::string(option.name)] = static_cast<std::int64_t>(option.fallback);
    std::string_view rest = colon == std::string_view::npos ? std::string_view() : text.substr(colon + 1);
    while (!rest.empty()) {
      const std::size_t comma = rest.find(',');
      KINGLET_CHECK(read_option(*policy, rest.substr(0, comma), values));
      rest = comma == std::string_view::npos ? std::string_view() : rest.substr(comma + 1);
    }
    return policy->make(values, layers);
  }
  return fail(ErrorCode::kInvalidArgument, "'" + std::string(name) + "' is no cache policy",
              "Known: " + known_names() + ".");
}

}  // namespace kinglet
