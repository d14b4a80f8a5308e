// What shrink is asked to do: a target, a calibration text and steps. A recipe is a YAML file; every flag of the
// command has its form here, and a run is keyed by the recipe's canonical text.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "kinglet/result.h"

namespace kinglet {

/// A value of a recipe with the line it stands on.
struct RecipeNode {
  enum class Kind { kScalar, kList, kMap };
  Kind kind = Kind::kScalar;
  std::string text;               ///< of a scalar
  std::vector<std::string> keys;  ///< of a map, in the order of the file
  std::vector<RecipeNode> items;  ///< of a list, or the values of a map
  int line = 0;                   ///< 1-based; 0: it came from a flag

  const RecipeNode* find(std::string_view key) const;
  /// Adds or replaces an entry (and makes this a map).
  void set(std::string_view key, RecipeNode value);
  static RecipeNode scalar(std::string text) { return {.text = std::move(text), .keys = {}, .items = {}}; }
  bool operator==(const RecipeNode& other) const;  ///< lines do not count
};

/// One step: the name of a pass, and a map of its options.
struct RecipeStep {
  std::string pass;
  RecipeNode options{.kind = RecipeNode::Kind::kMap, .text = {}, .keys = {}, .items = {}};
  int line = 0;
};

struct Recipe {
  std::optional<std::uint64_t> to_bytes;  ///< most bytes of the whole file
  std::optional<double> bits;             ///< most bits a parameter, head and embedding included
  std::optional<double> max_kl;           ///< most KL divergence from the source (upper end of a 95 % interval), nats
  std::optional<double> speed;            ///< least decode speed, as a multiple of the source's
  std::string text;                       ///< path of the calibration text; "": the built-in mix
  std::uint64_t seed = 1;
  std::vector<RecipeStep> steps;  ///< none: chosen by the planner
  std::string place;              ///< where it was read, for messages
};

/// Reads a recipe. kInvalidArgument with "PLACE:LINE" for what cannot be read or is out of range; kExhausted above
/// 1 MiB or 100,000 values. Steps are checked against the passes that there are.
Result<Recipe> parse_recipe(std::string_view yaml, std::string_view place);

/// The recipe as YAML that parse_recipe reads back to an equal one; the same for equal recipes.
std::string recipe_text(const Recipe& recipe);

}  // namespace kinglet
