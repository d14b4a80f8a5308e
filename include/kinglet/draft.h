// Speculation: a Drafter proposes tokens, the target verifies them in one pass.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "kinglet/engine.h"

namespace kinglet {

class PassCosts;
struct DraftShared;

/// What a proposed token was drawn from: tokens in ascending order with probabilities that sum to 1; all others have 0.
using DraftDistribution = std::vector<std::pair<TokenId, float>>;

/// A tree of proposed tokens in topological order; parent -1 continues the text. A chain has parent i-1. Siblings carry
/// different tokens.
struct Draft {
  std::vector<TokenId> tokens;
  std::vector<std::int32_t> parents;
  /// Only where the context asked for them: node i was drawn at random from distributions[drawn_from[i]]; -1, or no
  /// entry: it was chosen without chance. At most one child of a node is drawn.
  std::vector<std::int32_t> drawn_from;
  std::vector<DraftDistribution> distributions;
  double value = 1;  ///< what the drafter thinks of it: tokens per time over those of a plain pass

  void clear() { value = 1, tokens.clear(), parents.clear(), drawn_from.clear(), distributions.clear(); }
  void push(TokenId token, std::int32_t parent) { tokens.push_back(token), parents.push_back(parent); }
  std::size_t size() const { return tokens.size(); }
  const DraftDistribution* distribution(std::size_t node) const {
    return node < drawn_from.size() && drawn_from[node] >= 0
               ? &distributions[static_cast<std::size_t>(drawn_from[node])]
               : nullptr;
  }
  bool is_chain() const {
    for (std::size_t i = 0; i < parents.size(); ++i)
      if (parents[i] != static_cast<std::int32_t>(i) - 1) return false;
    return true;
  }
};

/// What all sequences of a drafter share and what is loaded for it.
struct DraftModel {
  std::shared_ptr<Engine> engine;  ///< the second model; null: the target's own layers draft
  bool same_vocabulary = true;     ///< the second model's ids are the target's
  int exit_layer = 0;              ///< layers that draft, where there is no second model; 0: chosen
  std::vector<TokenId> kept;       ///< tokens that are proposed, ascending; empty: chosen by the drafter
  /// Of trees: a token beside the best one begins a branch of its own above this probability (1: a chain), and how many
  /// passes of the second model a proposal takes (0: as long as it is sure enough).
  double branch_probability = 0.3;
  int tree_passes = 0;
};

/// What a drafter knows of the sequence that it drafts for. All that is pointed to outlives the drafter.
struct DraftContext {
  Engine* target = nullptr;                  ///< null only where a test has no model
  Sequence* sequence = nullptr;              ///< the target's memory of the text; a drafter leaves it as it was
  std::shared_ptr<DraftModel> model;         ///< what `--drafter MODEL` or FILE brought; null where there is nothing
  std::shared_ptr<DraftShared> shared;       ///< by all drafters of a loop (src/decode/draft_shared.h); null: by none
  std::shared_ptr<PassCosts> costs() const;  ///< what passes take: shared, or fresh ones
  double temperature = 0;
  /// A chain ends after a token that the drafting model gave less than this (Kangaroo's eta).
  double least_probability = 0.4;
  /// Propose by drawing from a distribution, and say which (Draft::drawn_from).
  bool wants_distributions = false;
  std::uint64_t seed = 0;
};

/// Stateful, one a sequence. What it proposes changes the speed and never the distribution of the tokens.
class Drafter {
 public:
  virtual ~Drafter() = default;
  /// Proposes at most `budget` tokens that may follow `text` (prompt and answer so far, the last token not yet fed).
  /// Between calls `text` only grows. `draft` comes empty; left empty, the step is a plain one. A drafter that cannot
  /// go on (its own context is full, its model failed) leaves it empty.
  virtual void propose(std::span<const TokenId> text, int budget, Draft& draft) = 0;
  /// How many of the last proposal's tokens stood. Not called after an empty proposal.
  virtual void observe(int /*accepted*/) {}
};

struct DrafterDescriptor {
  std::string_view name;  ///< what --drafter takes
  std::string_view paper;
  std::string_view help;
  Result<std::unique_ptr<Drafter>> (*make)(const DraftContext& context);
};
std::span<const DrafterDescriptor* const> drafters();
/// Null where there is none of this name.
const DrafterDescriptor* find_drafter(std::string_view name);

/// By name; null for "none" and "". kInvalidArgument with the names there are.
Result<std::unique_ptr<Drafter>> make_drafter(std::string_view name, const DraftContext& context);

}  // namespace kinglet
