#include "compress/plan/planner.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>

#include "base/try.h"
#include "compress/search/type_search.h"
#include "compress/type_rules.h"
#include "compress/workbench.h"
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

/// A step whose types are all chosen: run again, it searches no more.
RecipeStep without_search(const RecipeStep& step) {
  RecipeStep result = step;
  result.options.keys.clear();
  result.options.items.clear();
  for (std::size_t i = 0; i < step.options.keys.size(); ++i)
    if (step.options.keys[i] != "search" && step.options.keys[i] != "among")
      result.options.set(step.options.keys[i], step.options.items[i]);
  return result;
}

bool is_named(const RecipeStep& step, std::string_view tensor) {
  const RecipeNode* own = step.options.find("tensors");
  return own && std::any_of(own->keys.begin(), own->keys.end(),
                            [&](const std::string& pattern) { return matches_pattern(pattern, tensor); });
}

void keep_own_patterns(const RecipeStep& step, std::vector<TensorChoices>& tensors) {
  std::erase_if(tensors, [&](const TensorChoices& tensor) { return is_named(step, tensor.name); });
}

std::int64_t generations_of(const RecipeStep& step) {
  const auto options = pass_options(step, "");
  return options ? options->integer("search") : 0;  // 0 for passes without a search, too
}

Result<ChoiceOptions> choice_options(const Recipe& recipe, const RecipeStep& step) {
  KINGLET_TRY(const PassOptions given, pass_options(step, recipe.place));
  ChoiceOptions options{.compensated = find_pass(step.pass)->compensates};
  KINGLET_TRY(options.among, types_among(given));
  return options;
}

/// What a search begins with: the choices, the one that each has, and their bytes.
struct SearchStart {
  std::vector<TensorChoices> tensors;
  std::vector<std::size_t> chosen;
  std::uint64_t budget = 0;
};

/// The step's own patterns are rounded in the search, too, or it would judge with the source's matrices there.
void add_fixed(const Checkpoint& source, const RecipeStep& step, const Sizes& sizes, SearchStart& start) {
  for (const TensorInfo& info : sizes.infos) {
    const TensorInfo* from = source.find(info.name);
    const bool multiplies =
        is_layer_matrix(info.name) || info.name == "token_embd.weight" || info.name == "output.weight";
    if (!multiplies || !is_named(step, info.name) || info.type->form.bits == 0 || !from || from->type == info.type)
      continue;
    start.tensors.push_back({info.name, info.elements(), {{info.type, info.bytes, 0}}});
    start.chosen.push_back(0);
    start.budget += info.bytes;
  }
}

/// The step improved by a search over types, where it asks for one.
Result<RecipeStep> searched(PassContext& context, const Recipe& recipe, const RecipeStep& step, SearchStart start,
                            RecipeStep planned) {
  KINGLET_TRY(const PassOptions given, pass_options(step, recipe.place));
  if (generations_of(step) == 0) return planned;
  KINGLET_TRY(const Sizes before, sizes_of(context, recipe, planned));
  add_fixed(*context.source, step, before, start);
  TypeSearchOptions options{.generations = static_cast<int>(given.integer("search")),
                            .exact = step.options.find("type") != nullptr};
  KINGLET_TRY(const auto among, types_among(given));
  for (const BlockType* type : among) options.types.emplace_back(type->name);
  TypeSearchReport report;
  KINGLET_TRY(const auto found, search_types(context, start.tensors, start.chosen, start.budget, options, &report));
  char line[160];
  std::snprintf(line, sizeof line, "search over types: KL on calibration text %.4f -> %.4f, %d of %d generations moved",
                report.start_kl, report.end_kl, report.accepted, options.generations);
  if (context.note) context.note(line);
  RecipeStep better = with_types(step, start.tensors, found);
  KINGLET_TRY(const Sizes sizes, sizes_of(context, recipe, better));
  // Other types may need a longer header.
  return without_search(report.end_kl < report.start_kl && excess(recipe, sizes) <= 0 ? better : planned);
}

/// One type for all as the start of a search at the same bytes.
Result<PlannedStep> search_from_type(PassContext& context, const Recipe& recipe, const RecipeStep& step) {
  KINGLET_TRY(const Sizes sizes, sizes_of(context, recipe, step));
  if (const std::int64_t over = excess(recipe, sizes); over > 0)
    return fail(
        ErrorCode::kInvalidArgument,
        "the search starts at the step's own type, which is " + std::to_string(over) + " bytes above the target",
        "Leave the type to the planner.", recipe.place);
  SearchStart start;
  KINGLET_TRY(ChoiceOptions choices, choice_options(recipe, step));
  if (!choices.among.empty()) {
    KINGLET_TRY(const PassOptions given, pass_options(step, recipe.place));
    KINGLET_TRY(choices.among.emplace_back(), given.type("type"));
  }
  KINGLET_TRY(start.tensors, list_choices(context, choices));
  keep_own_patterns(step, start.tensors);
  PlannedStep done;
  for (TensorChoices& tensor : start.tensors) {
    const auto info = std::find_if(sizes.infos.begin(), sizes.infos.end(),
                                   [&](const TensorInfo& each) { return each.name == tensor.name; });
    auto choice = std::find_if(tensor.choices.begin(), tensor.choices.end(),
                               [&](const Choice& each) { return each.type == info->type; });
    if (choice == tensor.choices.end()) {  // larger than the source's own
      tensor.choices = {{info->type, info->bytes, 0}};
      choice = tensor.choices.begin();
    }
    start.chosen.push_back(static_cast<std::size_t>(choice - tensor.choices.begin()));
    start.budget += choice->bytes;
    done.loss += choice->loss;
  }
  KINGLET_TRY(done.step, searched(context, recipe, step, start, with_types(step, start.tensors, start.chosen)));
  return done;
}

/// A step that names the types of all matrices, as the recipe of an earlier run does.
Result<PlannedStep> as_named(PassContext& context, const Recipe& recipe, const RecipeStep& step) {
  KINGLET_TRY(const Sizes sizes, sizes_of(context, recipe, step));
  if (const std::int64_t over = excess(recipe, sizes); over > 0)
    return fail(ErrorCode::kInvalidArgument,
                "the types that the step names give " + std::to_string(over) + " bytes more than the target", "",
                recipe.place);
  return PlannedStep{.step = step};
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
        KINGLET_TRY(best.step, searched(context, recipe, step, {costs, *chosen, budget}, std::move(planned)));
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
  KINGLET_TRY(const ChoiceOptions choices, choice_options(*context.recipe, step));
  KINGLET_TRY(auto tensors, list_choices(context, choices));
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
  for (const std::string_view kept : {"tensors", "among"})
    if (const RecipeNode* value = step.options.find(kept)) plain.options.set(std::string(kept), *value);
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
  if (!pass || !takes("type") || !takes("tensors")) return false;
  return step.options.find("type") ? generations_of(step) > 0 : has_target(recipe);
}

Result<PlannedStep> plan_step(PassContext& context, const Recipe& recipe, const RecipeStep& step,
                              const TimeLimit* limit) {
  if (step.options.find("type")) return search_from_type(context, recipe, step);
  KINGLET_TRY(const ChoiceOptions choices, choice_options(recipe, step));
  KINGLET_TRY(auto tensors, list_choices(context, choices));
  keep_own_patterns(step, tensors);
  if (tensors.empty() && step.options.find("tensors")) return as_named(context, recipe, step);
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
      KINGLET_TRY(done.step, searched(context, recipe, step, {tensors, chosen, budget}, std::move(planned)));
      return done;
    }
    budget -= std::min(budget, static_cast<std::uint64_t>(still));
  }
}

}  // namespace kinglet
