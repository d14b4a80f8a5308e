// Which positions a layer's cache keeps when it is full. A policy chooses slots; the cache moves what they hold. Layers
// under a policy keep their keys unrotated: a key is rotated by its slot when it is read, and a query by its own, so
// that distances stay within what the model knows however long the text.
//
// A file src/engine/cache/policies/NAME.cpp defines `extern const CachePolicyDescriptor cache_policy_NAME`.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kinglet/result.h"

namespace kinglet {

/// Shared by all sequences of an engine; immutable.
class CachePolicy {
 public:
  virtual ~CachePolicy() = default;
  /// Slots that a layer may hold when a call begins; the rows of the call come on top.
  virtual std::int64_t capacity() const = 0;
  /// `layer` (counted over the layers that the policy has) holds `slots` > capacity(). Appends to `kept`, ascending,
  /// those that stay from the first change on, and gives that first slot: all before it stay. All layers must end with
  /// the same number, at most capacity(). `cursor`: the layer's own, 0 for an empty layer, kept between calls.
  virtual std::int64_t choose(int layer, std::int64_t slots, std::int64_t& cursor,
                              std::vector<std::int64_t>& kept) const = 0;
};

struct CachePolicyOption {
  std::string_view name;
  std::string_view help;
  double fallback = 0;
  double min = 0, max = 0;  ///< inclusive; whole numbers
};
using CachePolicyValues = std::map<std::string, std::int64_t, std::less<>>;

struct CachePolicyDescriptor {
  std::string_view name;
  std::string_view paper;
  std::string_view help;
  std::span<const CachePolicyOption> options;
  /// `layers`: full-attention layers of the model. Null: everything stays.
  Result<std::unique_ptr<const CachePolicy>> (*make)(const CachePolicyValues& values, int layers);
};
std::span<const CachePolicyDescriptor* const> cache_policies();

/// From NAME[:key=value,…]. kInvalidArgument that names what is known; the policy's own complaints.
Result<std::unique_ptr<const CachePolicy>> make_cache_policy(std::string_view text, int layers);

}  // namespace kinglet
