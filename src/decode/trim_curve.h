// What trimming a drafter's vocabulary costs and brings, for every size at once (VocabTrim, Goel et al. 2025, section
// on the choice of k): the drafter reads along with what the target wrote, and for each place the ranks tell from which
// to which size its best token is the target's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "kinglet/engine.h"

namespace kinglet {

struct TrimPoint {
  std::size_t keep = 0;         ///< tokens that may be proposed
  double accepted = 0;          ///< share of places where the drafter's best token is the target's
  int length = 0;               ///< of the proposals that pay best, at most 8
  double block_efficiency = 1;  ///< tokens a pass of the target, with proposals of this length
  double speed_up = 1;          ///< block efficiency / (length * bytes(drafter) / bytes(target) + 1)
};

struct TrimQuestion {
  Engine* target = nullptr;
  Engine* second = nullptr;  ///< the model that drafts; null: the target's first `exit_layer` layers
  int exit_layer = 0;
  /// What the target wrote (greedily), each after `given` tokens of a prompt.
  std::span<const std::vector<TokenId>> texts;
  std::size_t given = 1;
  std::span<const TokenId> order;      ///< the whole vocabulary, what is kept first at the front
  std::span<const std::size_t> sizes;  ///< to be judged
};

/// One point a size, in their order. Errors: the engines' own.
Result<std::vector<TrimPoint>> trim_curve(const TrimQuestion& question);

}  // namespace kinglet
