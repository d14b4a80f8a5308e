#include "compress/plan/planner.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>

#include "base/try.h"
#include "compress/search/type_search.h"
#include "kinglet/convert.h"

namespace kinglet {
namespace {

struct Sizes {
  std::uint64_t file = 0, tensors = 0, parameters = 0;
  std::vector<TensorInfo> infos;
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
    sizes.infos.push_back({tensor.name, tensor.type, tensor.shape, tensor.bytes()});
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

/// The choices with a cost in place of their bytes: a share of the time limit and a share of the budget of bytes, in
/// units of which the whole limit has kUnits.
constexpr double kUnits = 1e9;
std::vector<TensorChoices> with_costs(const Checkpoint& source, std::vector<TensorChoices> tensors,
                                      const TypeTimes& times, double seconds, double bytes, double weight) {
  const bool tied = source.find("output.weight") == nullptr;
  for (TensorChoices& tensor : tensors) {
    const TensorInfo& info = *source.find(tensor.name);
    const bool timed = multiplied_a_token(tensor.name, tied);
    for (Choice& choice : tensor.choices) {
      const double time = timed ? times.seconds(*choice.type, info.rows(), info.columns()) : 0;
      const double cost = weight * time / seconds + (1 - weight) * static_cast<double>(choice.bytes) / bytes;
      choice.bytes = static_cast<std::uint64_t>(cost * kUnits);
    }
    std::sort(tensor.choices.begin(), tensor.choices.end(), [](const Choice& a, const Choice& b) {
      return a.bytes != b.bytes ? a.bytes < b.bytes : a.type->name < b.type->name;
    });
  }
  return tensors;
}

/// The least loss within the time limit, and within the bytes where they are limited: by time alone first, then by
/// mixed costs, which trade one for the other.
Result<PlannedStep> plan_for_time(PassContext& context, const Recipe& recipe, const RecipeStep& step,
                                  const std::vector<TensorChoices>& tensors, const TimeLimit& limit) {
  const SpeedModel& model = *limit.model;
  const double seconds = (limit.seconds - model.other_seconds) / model.scale;
  if (seconds <= 0) return fail(ErrorCode::kQualityGate, "what is no matrix takes longer than the wanted speed allows");
  double bytes = 0;
  for (const TensorChoices& tensor : tensors) bytes += static_cast<double>(tensor.choices.back().bytes);
  if (recipe.to_bytes) bytes = std::min(bytes, static_cast<double>(*recipe.to_bytes));
  PlannedStep best;
  bool found = false;
  for (const double weight : {1.0, 0.7, 0.4, 0.1, 0.0}) {
    const auto costs = with_costs(*context.source, tensors, model.times, seconds, bytes, weight);
    for (double share = 1; share > 0.2; share *= 0.985) {
      const auto budget = static_cast<std::uint64_t>(share * kUnits);
      const auto chosen = allocate(costs, budget);
      if (!chosen) break;  // nothing is so fast
      RecipeStep planned = with_types(step, costs, *chosen);
      KINGLET_TRY(const Sizes sizes, sizes_of(context, recipe, planned));
      if (excess(recipe, sizes) > 0 || model.seconds(sizes.infos) > limit.seconds) continue;
      double loss = 0;
      for (std::size_t t = 0; t < costs.size(); ++t) loss += costs[t].choices[(*chosen)[t]].loss;
      if (!found || loss < best.loss) {
        KINGLET_TRY(best.step, searched(context, recipe, step, costs, *chosen, budget, std::move(planned)));
        best.loss = loss;
      }
      found = true;
      break;
    }
    if (found && weight == 1) break;
  }
  if (found) return best;
  return fail(ErrorCode::kQualityGate, "no choice of types is predicted to be so fast",
              "Allow more bytes, or a lower speed.");
}

}  // namespace

Result<TypeTimes> candidate_times(PassContext& context, const RecipeStep& step) {
  KINGLET_TRY(auto tensors, list_choices(context, {}));
  keep_own_patterns(step, tensors);
  TypeTimes times;
  std::map<std::int64_t, std::int64_t> weights;
  for (const TensorChoices& tensor : tensors) weights[context.source->find(tensor.name)->columns()] += tensor.elements;
  for (const TensorChoices& tensor : tensors) {
    const std::int64_t columns = context.source->find(tensor.name)->columns();
    for (const Choice& choice : tensor.choices) times.want(*choice.type, columns, weights[columns]);
  }
  return times;
}

bool has_target(const Recipe& recipe) { return recipe.to_bytes || recipe.bits || recipe.max_kl || recipe.speed; }

RecipeStep plain_step(const RecipeStep& step) {
  RecipeStep plain;
  plain.pass = "quantize";
  plain.line = step.line;
  if (const RecipeNode* tensors = step.options.find("tensors")) plain.options.set("tensors", *tensors);
  return plain;
}

std::vector<RecipeStep> usual_steps(const Checkpoint& source) {
  const auto suits = [&](const PassDescriptor* pass) {
    return pass && (!pass->accepts || pass->accepts(source, PassOptions(pass->options, {}, "")));
  };
  std::vector<RecipeStep> steps;
  const auto add = [&](std::string_view name) { steps.emplace_back().pass = name; };
  const bool compensates = suits(find_pass("gptq"));
  for (const PassDescriptor* pass : passes())
    if (compensates && pass->prepares && suits(pass)) add(pass->name);
  add(compensates ? "gptq" : "quantize");
  return steps;
}

bool needs_plan(const Recipe& recipe, const RecipeStep& step) {
  const PassDescriptor* pass = find_pass(step.pass);
  const auto takes = [&](std::string_view name) {
    return std::any_of(pass->options.begin(), pass->options.end(),
                       [&](const PassOption& option) { return option.name == name; });
  };
  return has_target(recipe) && pass && takes("type") && takes("tensors") && !step.options.find("type");
}

Result<PlannedStep> plan_step(PassContext& context, const Recipe& recipe, const RecipeStep& step,
                              const TimeLimit* limit) {
  KINGLET_TRY(auto tensors, list_choices(context, {.compensated = step.pass == "gptq"}));
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
  if (limit) return plan_for_time(context, recipe, step, tensors, *limit);
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
