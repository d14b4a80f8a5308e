#include <nlohmann/json.hpp>

#include "base/file.h"
#include "base/progress.h"
#include "base/sha256.h"
#include "base/try.h"
#include "cli/command.h"
#include "cli/generation.h"
#include "cli/output.h"
#include "kinglet/ffn_skip.h"
#include "kinglet/store.h"

namespace kinglet {
namespace {

constexpr std::string_view kRules[] = {"adaptive", "static", "random", "layers"};
constexpr std::string_view kCold[] = {"costly", "ends"};

constexpr OptionSpec kOptions[] = {
    {.name = "text",
     .kind = OptionKind::kFile,
     .value_name = "F",
     .help = "Text to decode; a few thousand tokens are read"},
    {.name = "output", .letter = 'o', .kind = OptionKind::kFile, .value_name = "OUT", .help = "The file to write"},
    {.name = "ratio",
     .kind = OptionKind::kNumber,
     .value_name = "R",
     .help = "Share of the feed-forwards to skip after the warm-up",
     .fallback = "0.25",
     .min = 0.01,
     .max = 0.6},
    {.name = "rule",
     .kind = OptionKind::kChoice,
     .value_name = "RULE",
     .help = "adaptive: by what each token needs; the others are for comparison: the layers that change least, random "
             "ones, or whole layers",
     .fallback = "adaptive",
     .choices = kRules},
    {.name = "probe",
     .kind = OptionKind::kInteger,
     .value_name = "N",
     .help = "Layers that skip after one that changed little, before the next is tried; 0: all",
     .fallback = "1",
     .min = 0,
     .max = 4096},
    {.name = "cold",
     .kind = OptionKind::kChoice,
     .value_name = "WHICH",
     .help = "Layers that always run: ends (the first 10 % and the last 5 %), or costly (also those that cost the text "
             "most when left out)",
     .fallback = "costly",
     .choices = kCold},
    {.name = "exchanges",
     .kind = OptionKind::kInteger,
     .value_name = "N",
     .help = "Exchanges of a layer that may skip for a costly one that are tried on the text",
     .fallback = "24",
     .min = 0,
     .max = 1000},
    {.name = "warm-up",
     .kind = OptionKind::kInteger,
     .value_name = "N",
     .help = "First tokens of an answer that skip nothing",
     .fallback = "32",
     .min = 0,
     .max = 128},
};

nlohmann::ordered_json describe(const FeedForwardSkip& skip, const std::string& output) {
  nlohmann::ordered_json value = {{"output", output},
                                  {"rule", skip_rule_name(skip.rule)},
                                  {"threshold", skip.threshold},
                                  {"share", skip.curve.back().share},
                                  {"similarity", skip.similarity},
                                  {"cold", skip.cold},
                                  {"off", skip.off}};
  for (const SkipPoint& point : skip.curve) {
    if (point.threshold == skip.threshold) value["share"] = point.share;
    value["curve"].push_back({{"threshold", point.threshold}, {"share", point.share}, {"nll", point.nll}});
  }
  return value;
}

Result<void> run(const Arguments& arguments) {
  const auto& words = arguments.positional();
  if (words[0] != "ffn-skip")
    return fail(ErrorCode::kInvalidArgument, "expected ffn-skip, found '" + words[0] + "'",
                "kinglet calibrate ffn-skip MODEL --text F -o OUT");
  if (!arguments.given("text") || !arguments.given("output"))
    return fail(ErrorCode::kInvalidArgument, "calibrate needs --text F and -o OUT");
  KINGLET_TRY(const std::string text, read_file(arguments.text("text"), std::uint64_t{1} << 26));
  KINGLET_TRY(const auto model, load_model(words[1], arguments));
  SkipCalibration how{.ratio = arguments.number("ratio"),
                      .probe = static_cast<int>(arguments.integer("probe")),
                      .warm_up = static_cast<int>(arguments.integer("warm-up")),
                      .costly_are_cold = arguments.text("cold") == "costly",
                      .exchanges = static_cast<int>(arguments.integer("exchanges")),
                      .progress = {}};
  KINGLET_TRY(how.rule, parse_skip_rule(arguments.text("rule")));
  ProgressBar bar(quiet());
  how.progress = [&](int done, int total) {
    bar.update({.activity = "calibrate",
                .done = static_cast<std::uint64_t>(done),
                .total = static_cast<std::uint64_t>(total)});
  };
  KINGLET_TRY(const auto skip, calibrate_ffn_skip(model, model->tokenizer().encode(text), how));
  bar.finish();
  KINGLET_TRY(skip->model, model_digest(words[1]));
  KINGLET_CHECK(skip->save(arguments.text("output")));
  const auto value = describe(*skip, arguments.text("output"));
  if (arguments.flag("json")) return print_json(value);
  char line[256];
  std::snprintf(line, sizeof line, ": skips %.1f %% of the feed-forwards after the first %d tokens of an answer\n",
                100 * value["share"].get<double>(), skip->warm_up);
  return print(escape_for_terminal(arguments.text("output")) + line);
}

constexpr std::span<const OptionSpec> kSets[] = {kOptions};
constexpr std::string_view kExamples[] = {
    "kinglet calibrate ffn-skip smollm2-135m-instruct --text book.txt --ratio 0.25 -o smollm2.skip",
    "kinglet run smollm2-135m-instruct --ffn-skip smollm2.skip \"Why is the sky blue?\"",
};

}  // namespace

extern const Command command_calibrate = {
    .name = "calibrate",
    .group = CommandGroup::kChange,
    .summary = "Measure on a text what a method needs to know about a model",
    .usage = "ffn-skip MODEL --text F -o OUT [options]",
    .description =
        "ffn-skip: which layers' feed-forwards hardly change a token, and from which similarity on the next ones may "
        "be "
        "skipped. The file goes with --ffn-skip and belongs to the model that it was made with.",
    .options = kSets,
    .examples = kExamples,
    .min_positional = 2,
    .max_positional = 2,
    .run = run,
};

}  // namespace kinglet
