#include <nlohmann/json.hpp>
#include <string>

#include "base/file.h"
#include "base/interrupt.h"
#include "base/progress.h"
#include "base/try.h"
#include "cli/command.h"
#include "cli/output.h"
#include "kinglet/pass.h"
#include "kinglet/shrink.h"
#include "kinglet/store.h"

namespace kinglet {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::uint64_t kMostRecipe = 1 << 20;

/// "1.5x" or "1.5".
Result<double> speed_of(std::string text) {
  if (text.ends_with('x')) text.pop_back();
  double value = 0;
  if (!parse_number(text, value) || !(value >= 0.1 && value <= 100))
    return fail(ErrorCode::kInvalidArgument, "--speed takes a multiple of the source's speed, found '" + text + "'",
                "1.5x is half as fast again.");
  return value;
}

Result<Recipe> recipe_of(const Arguments& arguments) {
  Recipe recipe;
  if (arguments.given("recipe")) {
    const std::string path = arguments.text("recipe");
    KINGLET_TRY(const std::string text, read_file(path, kMostRecipe));
    KINGLET_TRY(recipe, parse_recipe(text, path));
  }
  if (arguments.given("text")) recipe.text = arguments.text("text");
  if (arguments.given("seed")) recipe.seed = static_cast<std::uint64_t>(arguments.integer("seed"));
  if (arguments.given("type")) {
    RecipeStep step;
    step.pass = "quantize";
    step.options.set("type", RecipeNode::scalar(arguments.text("type")));
    recipe.steps.push_back(std::move(step));
  }
  if (arguments.given("to")) recipe.to_bytes = arguments.size("to");
  if (arguments.given("bits")) recipe.bits = arguments.number("bits");
  if (arguments.given("max-kl")) recipe.max_kl = arguments.number("max-kl");
  if (arguments.given("speed")) {
    KINGLET_TRY(recipe.speed, speed_of(arguments.text("speed")));
  }
  if (recipe.steps.empty() && !recipe.to_bytes && !recipe.bits && !recipe.max_kl && !recipe.speed)
    return fail(ErrorCode::kInvalidArgument, "shrink needs a target",
                "Give --to SIZE, --bits B, --max-kl K, --speed S, --type T or --recipe R.yaml.");
  return recipe;
}

Json plan_json(const ShrinkPlan& plan) {
  Json tensors = Json::array();
  for (const ShrunkTensor& tensor : plan.tensors)
    tensors.push_back({{"name", tensor.name},
                       {"shape", tensor.shape},
                       {"from", tensor.from},
                       {"to", tensor.to},
                       {"bytes_before", tensor.bytes_before},
                       {"bytes", tensor.bytes}});
  return {
      {"bytes", plan.bytes},
      {"bits_per_weight", plan.after.bits_per_weight},
      {"layer_bits_per_weight", plan.after.layer_bits_per_weight},
      {"source_bytes", plan.source_bytes},
      {"predicted_kl", plan.predicted_kl > 0 ? Json(plan.predicted_kl) : Json(nullptr)},
      {"predicted_cosine_distance",
       plan.predicted_cosine_distance > 0 ? Json(plan.predicted_cosine_distance) : Json(nullptr)},
      {"earlier_results", plan.earlier_results},
      {"memory_bytes", plan.memory_bytes},
      {"source_tokens_per_second", plan.tokens_per_second > 0 ? Json(plan.source_tokens_per_second) : Json(nullptr)},
      {"tokens_per_second", plan.tokens_per_second > 0 ? Json(plan.tokens_per_second) : Json(nullptr)},
      {"seconds", plan.seconds},
      {"recipe", recipe_text(plan.recipe)},
      {"tensors", tensors}};
}

std::string plan_text(const ShrinkPlan& plan) {
  char line[200];
  std::string text;
  for (const ShrunkTensor& tensor : plan.tensors) {
    std::string shape;
    for (std::int64_t size : tensor.shape) shape += (shape.empty() ? "" : " x ") + std::to_string(size);
    std::snprintf(line, sizeof line, "  %-32s %-16s %-7s -> %-7s %11llu\n", escape_for_terminal(tensor.name).c_str(),
                  shape.c_str(), tensor.from.c_str(), tensor.to.c_str(), static_cast<unsigned long long>(tensor.bytes));
    text += line;
  }
  std::snprintf(line, sizeof line, "%s -> %s (%llu bytes), %.2f bits per weight (layers %.2f)\n",
                format_bytes(plan.source_bytes).c_str(), format_bytes(plan.bytes).c_str(),
                static_cast<unsigned long long>(plan.bytes), plan.after.bits_per_weight,
                plan.after.layer_bits_per_weight);
  text += line;
  const std::string earlier =
      plan.earlier_results > 0 ? " (by " + std::to_string(plan.earlier_results) + " earlier results)" : "";
  if (plan.predicted_kl > 0) {
    if (earlier.empty())
      std::snprintf(line, sizeof line, "expected KL with plain rounding: about %.3f (gptq: usually less than half)\n",
                    plan.predicted_kl);
    else
      std::snprintf(line, sizeof line, "expected KL: about %.3f%s\n", plan.predicted_kl, earlier.c_str());
    text += line;
  }
  if (plan.predicted_cosine_distance > 0) {
    std::snprintf(line, sizeof line, "expected 1 - cosine of embeddings: about %.4f%s\n",
                  plan.predicted_cosine_distance, earlier.c_str());
    text += line;
  }
  if (plan.tokens_per_second > 0) {
    std::snprintf(line, sizeof line, "expected to write %.1f tokens a second here (%.2fx of the source's %.1f)\n",
                  plan.tokens_per_second, plan.tokens_per_second / plan.source_tokens_per_second,
                  plan.source_tokens_per_second);
    text += line;
  }
  if (plan.memory_bytes > 0) text += "memory to make it: about " + format_bytes(plan.memory_bytes) + "\n";
  return text;
}

/// The command again, for the report: what was given, in the order of the declaration.
std::string command_line(const Arguments& arguments) {
  std::string text = "kinglet shrink " + arguments.positional().front();
  for (const std::string_view name :
       {"to", "bits", "max-kl", "speed", "type", "recipe", "text", "seed", "memory", "threads", "output"})
    if (arguments.given(name))
      text += (name == "output" ? " -o " : " --" + std::string(name) + " ") + arguments.text(name);
  return text;
}

Result<void> run(const Arguments& arguments) {
  ShrinkOptions options;
  KINGLET_TRY(options.recipe, recipe_of(arguments));
  KINGLET_TRY(options.source, resolve_model(arguments.positional().front()));
  options.source_name = arguments.positional().front();
  options.output = arguments.text("output");
  if (arguments.given("threads")) options.threads = static_cast<int>(arguments.integer("threads"));
  if (arguments.given("memory")) options.memory_bytes = arguments.size("memory");
  options.cache_folder = store_folder() + "/calibration";
  options.report = !arguments.flag("no-report");
  options.command = command_line(arguments);
  ProgressBar bar(arguments.flag("quiet"));
  options.progress = [&](std::string_view activity, std::uint64_t done, std::uint64_t total) {
    // Steps count bytes; measurements count rounds or tokens.
    const bool bytes = activity == "reading" || activity == "writing" || find_pass(activity) != nullptr;
    bar.update({activity, done, total, bytes ? ProgressUnit::kBytes : ProgressUnit::kItems});
  };
  options.cancelled = [] { return interrupted(); };
  options.note = [&](std::string_view text) {
    bar.finish();
    note(text);
  };
  if (arguments.flag("dry-run")) {
    KINGLET_TRY(const ShrinkPlan plan, plan_shrink(options));
    bar.finish();
    return arguments.flag("json") ? print_json(plan_json(plan)) : print(plan_text(plan));
  }
  if (options.output.empty()) return fail(ErrorCode::kInvalidArgument, "no output is named", "Give it with -o OUT.");
  KINGLET_TRY(const ShrinkResult result, shrink(options));
  bar.finish();
  for (const std::string& line : result.plan.notes) note(line);
  const BitCounts& bits = result.plan.after;
  if (arguments.flag("json"))
    return print_json({{"output", result.output},
                       {"bytes", result.plan.bytes},
                       {"bits_per_weight", bits.bits_per_weight},
                       {"layer_bits_per_weight", bits.layer_bits_per_weight},
                       {"report", result.report.empty() ? Json(nullptr) : Json(result.report)}});
  char line[128];
  std::snprintf(line, sizeof line, ": %s, %.2f bits per weight (layers %.2f)\n",
                format_bytes(result.plan.bytes).c_str(), bits.bits_per_weight, bits.layer_bits_per_weight);
  std::string text = escape_for_terminal(result.output) + line;
  if (!result.report.empty())
    text += escape_for_terminal(result.table, true) + "report: " + escape_for_terminal(result.report) + "\n";
  return print(text);
}

constexpr OptionSpec kOptions[] = {
    {.name = "output", .letter = 'o', .kind = OptionKind::kFile, .value_name = "OUT", .help = "GGUF file to write"},
    {.name = "to", .kind = OptionKind::kSize, .value_name = "SIZE", .help = "Most bytes of the file: 60MB"},
    {.name = "bits",
     .kind = OptionKind::kNumber,
     .value_name = "B",
     .help = "Most bits per weight, embedding and head included",
     .min = 0.5,
     .max = 32},
    {.name = "max-kl",
     .kind = OptionKind::kNumber,
     .value_name = "K",
     .help = "Smallest file whose divergence from the source on held-out text is at most K nats (upper end of its "
             "95 % interval)",
     .min = 1e-6,
     .max = 100},
    {.name = "speed", .value_name = "S", .help = "Largest file that writes S times as fast as the source: 1.5x"},
    {.name = "recipe", .kind = OptionKind::kFile, .value_name = "R.yaml", .help = "Steps and targets from a file"},
    {.name = "type", .value_name = "T", .help = "One type for all matrices (q8_0, q4_k, ...)"},
    {.name = "text",
     .kind = OptionKind::kFile,
     .value_name = "F",
     .help = "Calibration text (UTF-8); without it a built-in mix"},
    {.name = "seed",
     .kind = OptionKind::kInteger,
     .value_name = "N",
     .help = "Seed of every random choice",
     .fallback = "1",
     .min = 0},
    {.name = "memory",
     .kind = OptionKind::kSize,
     .value_name = "SIZE",
     .help = "Most memory to work with, beside the mapped source (half of what is free, at most 2 GiB)"},
    {.name = "no-report", .kind = OptionKind::kFlag, .help = "Measure nothing, and write no report"},
    {.name = "dry-run", .kind = OptionKind::kFlag, .help = "Print what would be done, and write nothing"},
};
constexpr std::span<const OptionSpec> kOptionSets[] = {kOptions};

constexpr std::string_view kExamples[] = {
    "kinglet shrink smollm2-135m-instruct --to 60MB -o small.gguf",
    "kinglet shrink model.gguf --type q4_k -o small.gguf",
    "kinglet shrink model.gguf --recipe r.yaml -o small.gguf --dry-run  # what it would give",
};

}  // namespace

extern const Command command_shrink = {
    .name = "shrink",
    .group = CommandGroup::kChange,
    .summary = "Make a model smaller",
    .usage = "MODEL -o OUT [options]",
    .description =
        "Runs a recipe over a model, tensor by tensor, and writes a GGUF file, which appears whole or not at all. "
        "Finished tensors are kept in OUT.partial/: the same command goes on where an interrupted one was.",
    .options = kOptionSets,
    .examples = kExamples,
    .min_positional = 1,
    .max_positional = 1,
    .run = run,
};

}  // namespace kinglet
