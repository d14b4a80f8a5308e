#include "compress/plan/planner.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "base/try.h"
#include "compress/search/type_search.h"
#include "kinglet/convert.h"

namespace kinglet {
namespace {

struct Sizes {
  std::uint64_t file = 0, tensors = 0, parameters = 0;
};

/// Exact sizes of what a step would write.
Result<Sizes> sizes_of(PassContext& context, const Recipe& recipe, const RecipeStep& step) {
  KINGLET_TRY(const PassOptions options, pass_options(step, recipe.place));
  KINGLET_TRY(const auto pass, find_pass(step.pass)->make(options));
  KINGLET_TRY(const PassPlan plan, pass->plan(context));
  std::vector<GgufWriter::Plan> plans;
  Sizes sizes;
  for (const PassPlan::Tensor& tensor : plan.tensors) {
    plans.push_back({tensor.name, tensor.type, tensor.shape});
    sizes.tensors += tensor.bytes();
    std::uint64_t elements = 1;
    for (std::int64_t size : tensor.shape) elements *= static_cast<std::uint64_t>(size);
    sizes.parameters += elements;
  }
  sizes.file = GgufWriter::predicted_bytes(plan.metadata, plans);
  return sizes;
}

/// Bytes above the targets; at most 0 where they are met.
std::int64_t excess(const Recipe& recipe, const Sizes& sizes) {
  std::int64_t most = INT64_MIN;
  if (recipe.to_bytes) most = static_cast<std::int64_t>(sizes.file) - static_cast<std::int64_t>(*recipe.to_bytes);
  if (recipe.bits) {
    const double allowed = std::floor(*recipe.bits * static_cast<double>(sizes.parameters) / 8);
    most = std::max(most, static_cast<std::int64_t>(sizes.tensors) - static_cast<std::int64_t>(allowed));
  }
  return most;
}

RecipeStep with_types(const RecipeStep& step, std::span<const TensorChoices> tensors,
                      std::span<const std::size_t> chosen) {
  RecipeStep result = step;
  RecipeNode types;
  types.kind = RecipeNode::Kind::kMap;
  for (std::size_t t = 0; t < tensors.size(); ++t) {
    std::string name(tensors[t].choices[chosen[t]].type->name);
    for (char& letter : name) letter = static_cast<char>(letter >= 'A' && letter <= 'Z' ? letter + 32 : letter);
    types.set(tensors[t].name, RecipeNode::scalar(std::move(name)));
  }
  if (const RecipeNode* own = step.options.find("tensors"))
    for (std::size_t i = 0; i < own->keys.size(); ++i) types.set(own->keys[i], own->items[i]);
  result.options.set("tensors", std::move(types));
  return result;
}

void keep_own_patterns(const RecipeStep& step, std::vector<TensorChoices>& tensors) {
  const RecipeNode* own = step.options.find("tensors");
  if (!own) return;
  std::erase_if(tensors, [&](const TensorChoices& tensor) {
    return std::any_of(own->keys.begin(), own->keys.end(),
                       [&](const std::string& pattern) { return matches_pattern(pattern, tensor.name); });
  });
}

/// The step improved by a search over types, where it asks for one.
Result<RecipeStep> searched(PassContext& context, const Recipe& recipe, const RecipeStep& step,
                            const std::vector<TensorChoices>& tensors, const std::vector<std::size_t>& chosen,
                            std::uint64_t budget, RecipeStep planned) {
  if (!step.options.find("search")) return planned;
  KINGLET_TRY(const PassOptions options, pass_options(step, recipe.place));
  const auto generations = static_cast<int>(options.integer("search"));
  if (generations == 0) return planned;
  TypeSearchReport report;
  KINGLET_TRY(const auto found, search_types(context, tensors, chosen, budget, {.generations = generations}, &report));
  char line[160];
  std::snprintf(line, sizeof line, "search over types: KL on calibration text %.4f -> %.4f, %d of %d generations moved",
                report.start_kl, report.end_kl, report.accepted, generations);
  if (context.note) context.note(line);
  RecipeStep better = with_types(step, tensors, found);
  KINGLET_TRY(const Sizes sizes, sizes_of(context, recipe, better));
  // Other types may need a longer header.
  return report.end_kl < report.start_kl && excess(recipe, sizes) <= 0 ? better : planned;
}

}  // namespace

bool has_target(const Recipe& recipe) { return recipe.to_bytes || recipe.bits || recipe.max_kl || recipe.speed; }

RecipeStep plain_step(const RecipeStep& step) {
  RecipeStep plain;
  plain.pass = "quantize";
  plain.line = step.line;
  if (const RecipeNode* tensors = step.options.find("tensors")) plain.options.set("tensors", *tensors);
  return plain;
}

RecipeStep usual_step(const Checkpoint& source) {
  RecipeStep step;
  for (const std::string_view name : {"gptq", "quantize"}) {
    step.pass = name;
    const PassDescriptor* pass = find_pass(name);
    if (!pass) continue;
    const PassOptions none(pass->options, {}, "");
    if (!pass->accepts || pass->accepts(source, none)) break;
  }
  return step;
}

bool needs_plan(const Recipe& recipe, const RecipeStep& step) {
  const PassDescriptor* pass = find_pass(step.pass);
  const auto takes = [&](std::string_view name) {
    return std::any_of(pass->options.begin(), pass->options.end(),
                       [&](const PassOption& option) { return option.name == name; });
  };
  return has_target(recipe) && pass && takes("type") && takes("tensors") && !step.options.find("type");
}

Result<PlannedStep> plan_step(PassContext& context, const Recipe& recipe, const RecipeStep& step) {
  KINGLET_TRY(auto tensors, list_choices(context, {}));
  keep_own_patterns(step, tensors);
  if (tensors.empty()) return fail(ErrorCode::kInvalidArgument, "this model has no matrix whose type could be chosen");
  std::vector<std::size_t> smallest(tensors.size(), 0);
  const RecipeStep least = with_types(step, tensors, smallest);
  KINGLET_TRY(const Sizes sizes, sizes_of(context, recipe, least));
  const std::int64_t over = excess(recipe, sizes);
  if (over > 0) {
    char hint[160];
    std::snprintf(hint, sizeof hint, "The smallest that quantizing gives is %llu bytes (%.3f bits per weight).",
                  static_cast<unsigned long long>(sizes.file),
                  8 * static_cast<double>(sizes.tensors) / static_cast<double>(sizes.parameters));
    return fail(ErrorCode::kInvalidArgument,
                "the target cannot be met: it is " + std::to_string(over) + " bytes below the smallest types", hint);
  }
  std::uint64_t budget = static_cast<std::uint64_t>(-over);
  for (const TensorChoices& tensor : tensors) budget += tensor.choices.front().bytes;
  // The budget counts padded tensors; what the header adds or saves shows when the whole file is planned.
  for (;;) {
    KINGLET_TRY(const auto chosen, allocate(tensors, budget));
    RecipeStep planned = with_types(step, tensors, chosen);
    KINGLET_TRY(const Sizes result, sizes_of(context, recipe, planned));
    const std::int64_t still = excess(recipe, result);
    if (still <= 0) {
      PlannedStep done;
      for (std::size_t t = 0; t < tensors.size(); ++t) done.loss += tensors[t].choices[chosen[t]].loss;
      KINGLET_TRY(done.step, searched(context, recipe, step, tensors, chosen, budget, std::move(planned)));
      return done;
    }
    budget -= std::min(budget, static_cast<std::uint64_t>(still));
  }
}

}  // namespace kinglet
