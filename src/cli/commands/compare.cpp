#include <string>

#include "base/file.h"
#include "base/progress.h"
#include "base/try.h"
#include "cli/command.h"
#include "cli/output.h"
#include "kinglet/report.h"
#include "kinglet/store.h"

namespace kinglet {
namespace {

constexpr std::uint64_t kMostText = std::uint64_t{1} << 30;

/// The last part of a path, made unique by what stands before it where two are alike.
std::string label_of(const std::string& argument, const std::vector<NamedModel>& others) {
  std::string label = argument.substr(argument.find_last_not_of('/') == std::string::npos
                                          ? 0
                                          : argument.rfind('/', argument.find_last_not_of('/')) + 1);
  for (const NamedModel& other : others)
    if (other.first == label) label = argument;
  return label;
}

Result<void> write_page(const Report& report, const std::string& path) {
  KINGLET_TRY(auto file, AtomicFile::create(path));
  KINGLET_CHECK(file->write(report_html(report)));
  return file->commit();
}

Result<void> run(const Arguments& arguments) {
  std::vector<NamedModel> models;
  for (const std::string& argument : arguments.positional()) {
    KINGLET_TRY(const std::string path, resolve_model(argument));
    models.emplace_back(label_of(argument, models), path);
  }
  CompareOptions options;
  if (!arguments.given("text")) return fail(ErrorCode::kInvalidArgument, "compare needs --text F");
  for (const std::string& name : arguments.texts("text")) {
    KINGLET_TRY(std::string text, read_file(name, kMostText));
    options.texts.push_back({name, std::move(text)});
  }
  options.context = arguments.integer("context");
  options.windows = static_cast<std::size_t>(arguments.integer("windows"));
  options.rounds = static_cast<int>(arguments.integer("rounds"));
  options.answers = !arguments.flag("no-answers");
  if (arguments.given("threads")) options.threads = static_cast<int>(arguments.integer("threads"));
  ProgressBar bar(quiet());
  options.progress = [&](std::string_view activity, std::uint64_t done, std::uint64_t total) {
    bar.update({activity, done, total, ProgressUnit::kItems});
  };
  KINGLET_TRY(Report report, compare_models(models, options));
  bar.finish();
  report.title = models.size() == 1 ? models[0].first : "Comparison with " + models[0].first;
  report.commands.push_back("kinglet compare " + [&] {
    std::string words;
    for (const std::string& argument : arguments.positional()) words += argument + " ";
    for (const ReportText& text : options.texts) words += "--text " + text.name + " ";
    words.pop_back();
    return words;
  }());
  if (arguments.given("html")) KINGLET_CHECK(write_page(report, arguments.text("html")));
  return print(arguments.flag("json") ? report_json(report) : report_table(report));
}

constexpr OptionSpec kOptions[] = {
    {.name = "text",
     .kind = OptionKind::kFile,
     .value_name = "F",
     .help = "The text that the models read (UTF-8); several, each with its own --text, are also reported one by one",
     .repeatable = true},
    {.name = "html", .kind = OptionKind::kFile, .value_name = "OUT.html", .help = "Also write the report as one page"},
    {.name = "context",
     .kind = OptionKind::kInteger,
     .value_name = "N",
     .help = "Tokens of a window",
     .fallback = "512",
     .min = 16,
     .max = 1 << 20},
    {.name = "windows",
     .kind = OptionKind::kInteger,
     .value_name = "N",
     .help = "Most windows of the texts together, spread over them; 0: all",
     .fallback = "0",
     .min = 0,
     .max = 1 << 20},
    {.name = "rounds",
     .kind = OptionKind::kInteger,
     .value_name = "N",
     .help = "Rounds of the speed tests, the models taking turns; 0: none",
     .fallback = "5",
     .min = 0,
     .max = 1000},
    {.name = "no-answers", .kind = OptionKind::kFlag, .help = "Leave out the prompts that each model answers"},
};
constexpr std::span<const OptionSpec> kOptionSets[] = {kOptions};

constexpr std::string_view kExamples[] = {
    "kinglet compare original.gguf small.gguf --text book.txt --html report.html",
    "kinglet compare original.gguf a.gguf b.gguf c.gguf --text book.txt --json",
    "kinglet compare original.gguf small.gguf --text book.txt --text program.py --text chat.txt",
};

}  // namespace

extern const Command command_compare = {
    .name = "compare",
    .group = CommandGroup::kMeasure,
    .summary = "Compare models in size, quality, speed and memory",
    .usage = "A B ... --text F [options]",
    .description =
        "Puts any number of models into one report: size, perplexity, divergence from A, speed of writing and reading "
        "with all models taking turns, memory, error of each layer, and answers side by side. Embedding models are "
        "compared by the direction of their embeddings.",
    .options = kOptionSets,
    .examples = kExamples,
    .min_positional = 1,
    .max_positional = -1,
    .run = run,
};

}  // namespace kinglet
