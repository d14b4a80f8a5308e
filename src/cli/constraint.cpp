#include "cli/constraint.h"

#include <chrono>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "base/file.h"
#include "base/try.h"
#include "kinglet/measure.h"

namespace kinglet {
namespace {

constexpr std::uint64_t kMostGrammarBytes = 64u << 20;

constexpr OptionSpec kOptions[] = {
    {.name = "schema", .kind = OptionKind::kFile, .value_name = "F", .help = "Answer with JSON of this JSON Schema"},
    {.name = "grammar",
     .kind = OptionKind::kFile,
     .value_name = "F",
     .help = "Answer with a text of this GBNF grammar"},
    {.name = "regex", .value_name = "R", .help = "Answer with a text that matches as a whole"},
    {.name = "choice", .value_name = "A,B", .help = "Answer with one of these texts"},
    {.name = "tags",
     .kind = OptionKind::kFile,
     .value_name = "F",
     .help = "Answer freely, but hold to a schema between tags (tool calls; see docs/structured-output.md)"},
    {.name = "any-order", .kind = OptionKind::kFlag, .help = "With --schema or --tags: properties in any order"},
    {.name = "compact",
     .kind = OptionKind::kFlag,
     .help = "With --schema or --tags: no white space between the tokens of JSON"},
};

Result<std::optional<Grammar>> compile(const Arguments& arguments) {
  int given = 0;
  for (const char* name : {"schema", "grammar", "regex", "choice", "tags"}) given += arguments.given(name) ? 1 : 0;
  if (given > 1)
    return fail(ErrorCode::kInvalidArgument,
                "more than one of --schema, --grammar, --regex, --choice and --tags is given");
  for (const char* name : {"any-order", "compact"})
    if (arguments.flag(name) && !arguments.given("schema") && !arguments.given("tags"))
      return fail(ErrorCode::kInvalidArgument, std::string("--") + name + " goes with --schema or --tags");
  std::optional<Grammar> out;
  const SchemaOptions options{arguments.flag("any-order"), arguments.flag("compact")};
  const std::pair<const char*, std::function<Result<Grammar>(const std::string&)>> files[] = {
      {"schema", [&](const std::string& text) { return Grammar::from_schema(text, options); }},
      {"tags", [&](const std::string& text) { return Grammar::from_tags(text, options); }},
      {"grammar", [](const std::string& text) { return Grammar::from_gbnf(text); }}};
  for (const auto& [name, make] : files) {
    if (!arguments.given(name)) continue;
    const std::string path = arguments.text(name);
    KINGLET_TRY(const std::string text, read_file(path, kMostGrammarBytes));
    auto made = make(text);
    if (!made) return tl::unexpected(std::move(made).error().within(path));
    return std::move(*made);
  }
  if (arguments.given("regex")) {
    KINGLET_TRY(out, Grammar::from_regex(arguments.text("regex")));
  } else if (arguments.given("choice")) {
    std::vector<std::string> choices{""};
    for (const char c : arguments.text("choice")) c == ',' ? choices.emplace_back() : choices.back() += c;
    KINGLET_TRY(out, Grammar::from_choices(choices));
  }
  return out;
}

}  // namespace

std::span<const OptionSpec> constraint_option_specs() { return kOptions; }

Result<Constraint> Constraint::from(const Arguments& arguments) {
  Constraint out;
  const auto start = std::chrono::steady_clock::now();
  KINGLET_TRY(out.grammar_, compile(arguments));
  out.compile_ms_ = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
  return out;
}

Result<void> Constraint::bind(const Tokenizer& tokenizer) {
  if (!grammar_) return {};
  tokenizer_ = &tokenizer;
  vocabulary_ = std::make_shared<const GrammarVocabulary>(tokenizer);
  GrammarMatcher matcher(*grammar_, vocabulary_);
  const std::size_t allowed = matcher.allowed_count();
  if (auto error = matcher.failure()) return tl::unexpected(std::move(*error));
  if (allowed == 0)
    return fail(ErrorCode::kInvalidArgument, "no text of this model's tokens meets the schema or grammar");
  return {};
}

std::shared_ptr<const GrammarStatistics> Constraint::constrain(GenerateRequest& request) const {
  if (!grammar_) return nullptr;
  auto statistics = std::make_shared<GrammarStatistics>();
  request.processors.push_back(
      make_grammar_processor(*grammar_, vocabulary_, {.tokenizer = tokenizer_, .statistics = statistics}));
  return statistics;
}

nlohmann::ordered_json Constraint::report(const GrammarStatistics* statistics, const Generation& result) const {
  std::vector<double> times;
  if (statistics != nullptr) times.assign(statistics->mask_us.begin(), statistics->mask_us.end());
  return {{"compile_ms", compile_ms_},
          {"mask_us_p50", times.empty() ? 0.0 : percentile(times, 0.5)},
          {"mask_us_p99", times.empty() ? 0.0 : percentile(times, 0.99)},
          {"forced_tokens", result.forced_tokens}};
}

}  // namespace kinglet
