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

/// A tree of proposed tokens in topological order; parent -1 continues the text. A chain has parent i-1.
struct Draft {
  std::vector<TokenId> tokens;
  std::vector<std::int32_t> parents;
  void clear() { tokens.clear(), parents.clear(); }
};

class Drafter {
 public:
  virtual ~Drafter() = default;
  /// Proposes at most `budget` tokens that may follow `text` (prompt and answer so far, the last token not yet fed).
  virtual void propose(std::span<const TokenId> text, int budget, Draft& draft) = 0;
  /// How many of the last proposal's tokens stood.
  virtual void observe(int /*accepted*/) {}
};

struct DrafterDescriptor {
  std::string_view name;  ///< what --drafter takes
  std::string_view paper;
  std::string_view help;
  Result<std::unique_ptr<Drafter>> (*make)(Engine& target);
};
std::span<const DrafterDescriptor* const> drafters();

}  // namespace kinglet
