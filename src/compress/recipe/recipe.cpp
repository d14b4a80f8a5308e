#include "kinglet/recipe.h"

#include <charconv>
#include <cmath>

#include "base/size.h"
#include "base/try.h"
#include "compress/recipe/yaml.h"
#include "kinglet/pass.h"

namespace kinglet {
namespace {

std::string shown(double value) {
  char text[32];
  const auto result = std::to_chars(text, text + sizeof text, value);
  return {text, result.ptr};
}

// What a key of the top level takes.
class Reader {
 public:
  Reader(const RecipeNode& root, std::string_view place) : root_(root), place_(place) {}

  Result<std::string> scalar(std::string_view key) const {
    const RecipeNode* node = root_.find(key);
    if (!node) return std::string();
    if (node->kind != RecipeNode::Kind::kScalar || node->text.empty())
      return fail(ErrorCode::kInvalidArgument, std::string(key) + " takes one value", "", place_of(place_, node->line));
    return node->text;
  }

  Result<std::optional<double>> number(std::string_view key, double min, double max) const {
    KINGLET_TRY(std::string text, scalar(key));
    if (text.empty()) return std::nullopt;
    if (key == "speed" && text.ends_with('x')) text.pop_back();
    double value = 0;
    if (!parse_number(text, value) || !(value >= min && value <= max))
      return fail(
          ErrorCode::kInvalidArgument,
          std::string(key) + " takes a number from " + shown(min) + " to " + shown(max) + ", found '" + text + "'", "",
          place_of(place_, root_.find(key)->line));
    return value;
  }

 private:
  const RecipeNode& root_;
  std::string_view place_;
};

Result<RecipeStep> parse_step(const RecipeNode& node, std::string_view place) {
  RecipeStep step;
  step.line = node.line;
  if (node.kind == RecipeNode::Kind::kScalar && !node.text.empty()) {
    step.pass = node.text;
  } else if (node.kind == RecipeNode::Kind::kMap && node.keys.size() == 1) {
    step.pass = node.keys[0];
    const RecipeNode& options = node.items[0];
    if (options.kind == RecipeNode::Kind::kMap) {
      step.options = options;
    } else if (options.kind != RecipeNode::Kind::kScalar || !(options.text.empty() || options.text == "~")) {
      return fail(ErrorCode::kInvalidArgument, "expected the options of '" + step.pass + "' as name: value lines", "",
                  place_of(place, node.line));
    }
  } else {
    return fail(ErrorCode::kInvalidArgument, "expected a step: the name of a pass, or 'name:' and its options", "",
                place_of(place, node.line));
  }
  KINGLET_CHECK(pass_options(step, place));
  return step;
}

}  // namespace

Result<Recipe> parse_recipe(std::string_view yaml, std::string_view place) {
  KINGLET_TRY(const RecipeNode root, parse_yaml(yaml, place));
  if (root.kind != RecipeNode::Kind::kMap)
    return fail(ErrorCode::kInvalidArgument, "expected a recipe: lines such as 'to: 60MB' or 'steps:'",
                "docs/recipes.md shows the form.", place_of(place, root.line));
  static constexpr std::string_view kKeys[] = {"to", "bits", "max-kl", "speed", "text", "seed", "steps"};
  for (std::size_t i = 0; i < root.keys.size(); ++i) {
    bool known = false;
    for (std::string_view key : kKeys) known = known || key == root.keys[i];
    if (!known)
      return fail(ErrorCode::kInvalidArgument, "a recipe has no '" + root.keys[i] + "'",
                  "It has to, bits, max-kl, speed, text, seed and steps.", place_of(place, root.items[i].line));
  }
  Recipe recipe;
  recipe.place = place;
  const Reader reader(root, place);
  KINGLET_TRY(const std::string to, reader.scalar("to"));
  if (!to.empty()) {
    auto size = parse_size(to);
    if (!size) {
      Error error = std::move(size).error();
      error.place = place_of(place, root.find("to")->line);
      return tl::unexpected(std::move(error));
    }
    recipe.to_bytes = *size;
  }
  KINGLET_TRY(recipe.bits, reader.number("bits", 0.5, 32));
  KINGLET_TRY(recipe.max_kl, reader.number("max-kl", 1e-6, 100));
  KINGLET_TRY(recipe.speed, reader.number("speed", 0.1, 100));
  KINGLET_TRY(recipe.text, reader.scalar("text"));
  KINGLET_TRY(const std::string seed, reader.scalar("seed"));
  std::int64_t value = 1;
  if (!seed.empty() && (!parse_integer(seed, value) || value < 0))
    return fail(ErrorCode::kInvalidArgument, "seed takes a whole number from 0 on, found '" + seed + "'", "",
                place_of(place, root.find("seed")->line));
  recipe.seed = static_cast<std::uint64_t>(value);
  if (const RecipeNode* steps = root.find("steps")) {
    if (steps->kind != RecipeNode::Kind::kList)
      return fail(ErrorCode::kInvalidArgument, "steps takes a list ('- quantize: ...')", "",
                  place_of(place, steps->line));
    for (const RecipeNode& item : steps->items) {
      KINGLET_TRY(RecipeStep step, parse_step(item, place));
      recipe.steps.push_back(std::move(step));
    }
  }
  return recipe;
}

std::string recipe_text(const Recipe& recipe) {
  RecipeNode root;
  root.kind = RecipeNode::Kind::kMap;
  const auto put = [&](std::string_view key, std::string value) {
    root.set(key, RecipeNode::scalar(std::move(value)));
  };
  if (recipe.to_bytes) put("to", std::to_string(*recipe.to_bytes));
  if (recipe.bits) put("bits", shown(*recipe.bits));
  if (recipe.max_kl) put("max-kl", shown(*recipe.max_kl));
  if (recipe.speed) put("speed", shown(*recipe.speed));
  if (!recipe.text.empty()) put("text", recipe.text);
  put("seed", std::to_string(recipe.seed));
  if (!recipe.steps.empty()) {
    RecipeNode steps;
    steps.kind = RecipeNode::Kind::kList;
    for (const RecipeStep& step : recipe.steps) {
      if (step.options.keys.empty()) {
        steps.items.push_back(RecipeNode::scalar(step.pass));
        continue;
      }
      RecipeNode item;
      item.set(step.pass, step.options);
      steps.items.push_back(std::move(item));
    }
    root.set("steps", std::move(steps));
  }
  return yaml_text(root);
}

}  // namespace kinglet
