// Speculation: a Drafter proposes tokens, the target verifies them in one pass.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kinglet/engine.h"

namespace kinglet {

/// A tree of proposed tokens in topological order; parent -1 continues the text. A chain has parent i-1. Siblings carry
/// different tokens.
struct Draft {
  std::vector<TokenId> tokens;
  std::vector<std::int32_t> parents;
  void clear() { tokens.clear(), parents.clear(); }
  void push(TokenId token, std::int32_t parent) { tokens.push_back(token), parents.push_back(parent); }
  std::size_t size() const { return tokens.size(); }
  bool is_chain() const {
    for (std::size_t i = 0; i < parents.size(); ++i)
      if (parents[i] != static_cast<std::int32_t>(i) - 1) return false;
    return true;
  }
};

/// Stateful, one a sequence. What it proposes changes the speed and never the tokens: the loop draws each token from
/// the target's own distribution, and a proposal stands as far as it is what was drawn.
class Drafter {
 public:
  virtual ~Drafter() = default;
  /// Proposes at most `budget` tokens that may follow `text` (prompt and answer so far, the last token not yet fed).
  /// Between calls `text` only grows. `draft` comes empty; left empty, the step is a plain one.
  virtual void propose(std::span<const TokenId> text, int budget, Draft& draft) = 0;
  /// How many of the last proposal's tokens stood. Not called after an empty proposal.
  virtual void observe(int /*accepted*/) {}
};

struct DrafterDescriptor {
  std::string_view name;  ///< what --drafter takes
  std::string_view paper;
  std::string_view help;
  Result<std::unique_ptr<Drafter>> (*make)(Engine& target);
};
std::span<const DrafterDescriptor* const> drafters();

/// By name; null for "none" and "". kInvalidArgument with the names there are.
Result<std::unique_ptr<Drafter>> make_drafter(std::string_view name, Engine& target);

}  // namespace kinglet
