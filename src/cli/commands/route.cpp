#include <cstdio>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>

#include "base/try.h"
#include "cli/command.h"
#include "cli/generation.h"
#include "cli/output.h"
#include "cli/route_data.h"
#include "cli/team.h"
#include "kinglet/route.h"

namespace kinglet {
namespace {

using nlohmann::ordered_json;

constexpr std::string_view kGoals[] = {"best", "super"};
constexpr OptionSpec kOptions[] = {
    {.name = "swift", .value_name = "MODEL", .help = "calibrate: the cheap model, which is always asked"},
    {.name = "super",
     .value_name = "MODEL",
     .help = "calibrate: the accurate model, which is asked where that is unsure"},
    {.name = "data",
     .kind = OptionKind::kFile,
     .value_name = "D.jsonl",
     .help = "Lines {\"prompt\",\"answer\"}, {\"prompt\",\"choices\",\"label\"} or {\"swift\",\"super\",\"label\"} "
             "(logits)"},
    {.name = "output", .letter = 'o', .kind = OptionKind::kFile, .value_name = "OUT", .help = "The file to write"},
    {.name = "score",
     .value_name = "NAME",
     .help = "How sure the cheap model is: energy, energy-prob, max-prob, entropy",
     .fallback = "energy"},
    {.name = "goal",
     .kind = OptionKind::kChoice,
     .value_name = "GOAL",
     .help = "best: the highest accuracy; super: the lowest cost with the accurate model's accuracy",
     .fallback = "best",
     .choices = kGoals},
    {.name = "share",
     .kind = OptionKind::kNumber,
     .value_name = "S",
     .help = "Instead of --goal: the cheap model answers at least this share (data need not have answers)",
     .min = 0,
     .max = 1},
    {.name = "steps",
     .kind = OptionKind::kInteger,
     .value_name = "N",
     .help = "Texts: decide after the first N tokens; 0: after the answer",
     .fallback = "8",
     .min = 0,
     .max = 4096},
    {.name = "max-tokens",
     .letter = 'n',
     .kind = OptionKind::kInteger,
     .value_name = "N",
     .help = "Texts: most tokens of an answer",
     .fallback = "32",
     .min = 1,
     .max = 1 << 20},
    {.name = "raw", .kind = OptionKind::kFlag, .help = "Prompts as they are, without the models' chat templates"},
    {.name = "threshold",
     .kind = OptionKind::kNumber,
     .value_name = "T",
     .help = "test: another threshold than the file's (1e300: always the accurate model, -1e300: never)"},
};

ordered_json areas(const JudgedData& data) {
  ordered_json value;
  for (std::size_t i = 0; i < route_scores().size(); ++i) {
    const auto curve = route_curve(data.with_score(i));
    if (curve) value[std::string(route_scores()[i]->name)] = area_under(*curve);
  }
  double swift = 0, super = 0;
  for (const JudgedItem& judged : data.items) swift += judged.item.swift_right, super += judged.item.super_right;
  value["random"] = (swift + super) / 2 / static_cast<double>(data.items.size());
  return value;
}

std::size_t index_of(std::string_view name) {
  std::size_t index = 0;
  while (route_scores()[index]->name != name) ++index;
  return index;
}

struct Means {
  double swift_cost = 0, super_cost = 0, swift_accuracy = 0, super_accuracy = 0;
};

Means means_of(const JudgedData& data) {
  Means means;
  for (const JudgedItem& judged : data.items) {
    means.swift_cost += judged.item.swift_cost;
    means.super_cost += judged.item.super_cost;
    means.swift_accuracy += judged.item.swift_right;
    means.super_accuracy += judged.item.super_right;
  }
  const auto count = static_cast<double>(data.items.size());
  for (double* mean : {&means.swift_cost, &means.super_cost, &means.swift_accuracy, &means.super_accuracy})
    *mean /= count;
  return means;
}

Result<std::shared_ptr<Engine>> open_engine(const std::string& name, const Arguments& arguments) {
  KINGLET_TRY(auto model, load_model(name, arguments));
  KINGLET_TRY(auto engine, Engine::create(std::move(model), {}));
  return std::shared_ptr<Engine>(std::move(engine));
}

Result<RouteModels> open_models(const std::string& swift, const std::string& super, const Arguments& arguments) {
  RouteModels models;
  models.raw = arguments.flag("raw");
  models.max_tokens = arguments.integer("max-tokens");
  if (swift.empty() != super.empty())
    return fail(ErrorCode::kInvalidArgument, "only one of --swift and --super is given",
                "Give both, or data with logits.");
  if (swift.empty()) return models;
  KINGLET_TRY(models.swift, open_engine(swift, arguments));
  KINGLET_TRY(models.super, open_engine(super, arguments));
  return models;
}

std::string summary(const ordered_json& value) {
  char line[256];
  std::snprintf(line, sizeof line,
                "%s at %.6g: the cheap model answers %.1f %%; accuracy %.2f %% (cheap %.2f %%, accurate %.2f %%); cost "
                "%.4g of %.4g\n",
                value["score"].get<std::string>().c_str(), value["threshold"].get<double>(),
                100 * value["share"].get<double>(), 100 * value["accuracy"].get<double>(),
                100 * value["swift_accuracy"].get<double>(), 100 * value["super_accuracy"].get<double>(),
                value["cost"].get<double>(), value["super_cost"].get<double>());
  std::string text = line;
  text += "mean accuracy over all thresholds:";
  for (const auto& [name, area] : value["area"].items()) {
    std::snprintf(line, sizeof line, " %s %.4f", name.c_str(), area.get<double>());
    text += line;
  }
  return text + "\n";
}

Result<void> calibrate(const Arguments& arguments) {
  if (!arguments.given("data") || !arguments.given("output"))
    return fail(ErrorCode::kInvalidArgument, "calibrate needs --data D.jsonl and -o OUT");
  KINGLET_TRY(const RouteScore* score, find_route_score(arguments.text("score")));
  RouteFile route;
  route.swift = arguments.text("swift");
  route.super = arguments.text("super");
  route.score = std::string(score->name);
  KINGLET_TRY(RouteModels models, open_models(route.swift, route.super, arguments));
  models.steps = arguments.integer("steps");
  KINGLET_TRY(const JudgedData data, judge_route_data(arguments.text("data"), models));
  KINGLET_TRY(route.curve, route_curve(data.with_score(index_of(route.score))));
  const RouteGoal goal = arguments.given("share")            ? RouteGoal::kShare
                         : arguments.text("goal") == "super" ? RouteGoal::kSuper
                                                             : RouteGoal::kBest;
  if (!data.has_answers && goal != RouteGoal::kShare)
    return fail(ErrorCode::kInvalidArgument, "the data has no right answers to choose a threshold by",
                "Give --share S, the share of the items that the cheap model shall answer.", arguments.text("data"));
  const RoutePoint chosen = choose_point(route.curve, goal, arguments.given("share") ? arguments.number("share") : 0);
  const Means means = means_of(data);
  route.threshold = chosen.threshold;
  route.generates = data.generates;
  route.steps = data.generates ? models.steps : 0;
  route.swift_cost = means.swift_cost;
  route.super_cost = means.super_cost;
  if (models.swift) {
    KINGLET_TRY(route.swift_sha256, model_digest(route.swift));
    KINGLET_TRY(route.super_sha256, model_digest(route.super));
  }
  KINGLET_CHECK(write_route_file(arguments.text("output"), route));
  ordered_json value = {{"output", arguments.text("output")},
                        {"items", data.items.size()},
                        {"score", route.score},
                        {"threshold", chosen.threshold},
                        {"share", chosen.share},
                        {"accuracy", chosen.accuracy},
                        {"swift_accuracy", means.swift_accuracy},
                        {"super_accuracy", means.super_accuracy},
                        {"cost", chosen.cost},
                        {"swift_cost", means.swift_cost},
                        {"super_cost", means.super_cost},
                        {"area", areas(data)}};
  if (!arguments.flag("json")) return print(escape_for_terminal(arguments.text("output")) + ": " + summary(value));
  for (const RoutePoint& point : route.curve)
    value["curve"].push_back(
        {{"threshold", point.threshold}, {"share", point.share}, {"accuracy", point.accuracy}, {"cost", point.cost}});
  return print_json(value);
}

Result<void> test(const Arguments& arguments) {
  if (arguments.positional().size() != 2 || !arguments.given("data"))
    return fail(ErrorCode::kInvalidArgument, "test needs a file of calibrate and --data T.jsonl");
  const std::string& path = arguments.positional()[1];
  KINGLET_TRY(const RouteFile route, open_route(path));
  KINGLET_TRY(RouteModels models, open_models(route.swift, route.super, arguments));
  models.steps = route.steps;
  KINGLET_TRY(const JudgedData data, judge_route_data(arguments.text("data"), models));
  const double threshold = arguments.given("threshold") ? arguments.number("threshold") : route.threshold;
  const Means means = means_of(data);
  double kept = 0, right = 0, cost = 0, ms = 0, super_ms = 0;
  auto routed = ordered_json::array();
  for (const JudgedItem& judged : data.items) {
    const double score = judged.scores[index_of(route.score)];
    const bool keeps = score >= threshold;
    const bool is_right = keeps ? judged.item.swift_right : judged.item.super_right;
    kept += keeps;
    right += is_right;
    cost += judged.item.swift_cost + (keeps ? 0 : judged.item.super_cost);
    ms += judged.swift_ms + (keeps ? 0 : judged.super_ms);
    super_ms += judged.super_ms;
    routed.push_back({{"score", score}, {"by", keeps ? "swift" : "super"}, {"right", is_right}});
  }
  const auto count = static_cast<double>(data.items.size());
  ordered_json value = {{"items", data.items.size()},
                        {"score", route.score},
                        {"threshold", threshold},
                        {"share", kept / count},
                        {"accuracy", right / count},
                        {"swift_accuracy", means.swift_accuracy},
                        {"super_accuracy", means.super_accuracy},
                        {"cost", cost / count},
                        {"predicted_cost", route.swift_cost + (1 - kept / count) * route.super_cost},
                        {"swift_cost", means.swift_cost},
                        {"super_cost", means.super_cost},
                        {"ms", ms / count},
                        {"super_ms", super_ms / count},
                        {"area", areas(data)}};
  if (!arguments.flag("json")) return print(summary(value));
  value["routed"] = routed;
  return print_json(value);
}

Result<void> run(const Arguments& arguments) {
  const std::string& what = arguments.positional()[0];
  if (what == "calibrate" && arguments.positional().size() == 1) return calibrate(arguments);
  if (what == "test") return test(arguments);
  return fail(ErrorCode::kInvalidArgument, "expected calibrate, or test FILE",
              "kinglet route calibrate --swift A --super B --data D.jsonl -o OUT");
}

constexpr std::span<const OptionSpec> kSets[] = {kOptions};
constexpr std::string_view kExamples[] = {
    "kinglet route calibrate --swift smollm2-135m-instruct --super qwen2.5-coder-0.5b-instruct --data val.jsonl -o "
    "pair.route",
    "kinglet route test pair.route --data test.jsonl  # share, accuracy and cost on data that it was not calibrated "
    "with",
    "kinglet run smollm2-135m-instruct \"What is the capital of France?\" --route pair.route",
};

}  // namespace

extern const Command command_route = {
    .name = "route",
    .group = CommandGroup::kMeasure,
    .summary = "Calibrate when a cheap model's answer is good enough",
    .usage = "calibrate | test FILE [options]",
    .description =
        "calibrate: both models answer the data, and a threshold is chosen for the score of the cheap model's logits: "
        "at "
        "or above it the cheap model's answer stands, below it the accurate model is asked. The file has the whole "
        "curve. "
        "test: what the file's threshold gives on other data. --route FILE of run, chat and bench answers this way.",
    .options = kSets,
    .examples = kExamples,
    .min_positional = 1,
    .max_positional = 2,
    .run = run,
};

}  // namespace kinglet
