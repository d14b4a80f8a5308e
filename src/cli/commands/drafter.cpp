#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>

#include "base/file.h"
#include "base/interrupt.h"
#include "base/sha256.h"
#include "base/try.h"
#include "cli/command.h"
#include "cli/generation.h"
#include "cli/output.h"
#include "decode/drafter_file.h"
#include "decode/prompt.h"
#include "decode/random.h"
#include "decode/trimmed_head.h"
#include "kinglet/store.h"

namespace kinglet {
namespace {

using nlohmann::ordered_json;

constexpr std::uint64_t kMostText = std::uint64_t{256} << 20;
constexpr std::int64_t kPromptTokens = 32;  ///< of the text, before each stretch that the model writes itself

constexpr std::string_view kChoices[] = {"counted", "ids", "random"};
constexpr OptionSpec kOptions[] = {
    {.name = "output", .letter = 'o', .kind = OptionKind::kFile, .value_name = "OUT", .help = "File to write"},
    {.name = "text",
     .kind = OptionKind::kFile,
     .value_name = "F",
     .help = "Text like what will be written: its tokens are counted"},
    {.name = "keep",
     .kind = OptionKind::kInteger,
     .value_name = "N",
     .help = "Tokens that may be proposed (without it: a sixth of the vocabulary)",
     .min = 16,
     .max = 1 << 24},
    {.name = "layers",
     .kind = OptionKind::kInteger,
     .value_name = "N",
     .help = "The model's own first N layers draft (without it: two thirds)",
     .min = 1,
     .max = 65536},
    {.name = "with", .value_name = "D", .help = "This model of the same vocabulary drafts instead of layers"},
    {.name = "generate",
     .kind = OptionKind::kInteger,
     .value_name = "N",
     .help = "Count N tokens that the model itself writes after pieces of the text, instead of the text's own",
     .fallback = "0",
     .min = 0,
     .max = 1 << 24},
    {.name = "choose",
     .kind = OptionKind::kChoice,
     .value_name = "HOW",
     .help = "Which tokens are kept: the counted ones, or for comparison those of the lowest ids, or any",
     .fallback = "counted",
     .choices = kChoices},
    {.name = "seed",
     .kind = OptionKind::kInteger,
     .value_name = "N",
     .help = "Of --choose random",
     .fallback = "0",
     .min = 0,
     .max = 9007199254740992.0},
};

/// What the model writes after pieces of the text: nearer to what drafts must meet than the text is.
Result<std::vector<TokenId>> written(const std::shared_ptr<const Model>& model, std::span<const TokenId> text,
                                     std::int64_t count) {
  KINGLET_TRY(const auto engine, Engine::create(model, {.context = 512}));
  constexpr std::int64_t kAnswer = 64;
  const std::int64_t pieces = std::max<std::int64_t>(1, count / kAnswer);
  std::vector<GenerateRequest> requests;
  for (std::int64_t i = 0; i < pieces; ++i) {
    const auto length = static_cast<std::int64_t>(text.size());
    const std::int64_t begin = std::max<std::int64_t>(0, length - kPromptTokens) * i / pieces;
    GenerateRequest request;
    request.prompt.assign(text.begin() + begin, text.begin() + std::min(length, begin + kPromptTokens));
    request.options.max_tokens = kAnswer;
    request.options.ignore_eos = true;
    requests.push_back(std::move(request));
  }
  KINGLET_TRY(const auto results, generate(*engine, std::move(requests), 8));
  std::vector<TokenId> ids;
  for (const Generation& result : results) {
    if (result.error) return tl::unexpected<Error>(*result.error);
    if (result.finish_reason == "cancelled") return fail(ErrorCode::kCancelled, "interrupted");
    ids.insert(ids.end(), result.token_ids.begin(), result.token_ids.end());
  }
  return ids;
}

/// What stands in for the counts where tokens are chosen in another way.
std::vector<std::uint64_t> ranked(std::vector<std::uint64_t> counts, const Arguments& arguments) {
  const std::string how = arguments.text("choose");
  Random random(static_cast<std::uint64_t>(arguments.integer("seed")));
  if (how == "ids")
    for (std::size_t id = 0; id < counts.size(); ++id) counts[id] = counts.size() - id;
  if (how == "random")
    for (std::uint64_t& count : counts) count = static_cast<std::uint64_t>(random.uniform() * 1e15);
  return counts;
}

/// The share of `ids` that is among the `count` most frequent of `occurrences`.
double coverage(std::span<const std::uint64_t> occurrences, std::size_t count, std::span<const TokenId> ids,
                const Tokenizer& tokenizer) {
  const auto kept = most_frequent(occurrences, count, tokenizer);
  std::size_t inside = 0;
  for (const TokenId id : ids) inside += std::binary_search(kept.begin(), kept.end(), id);
  return ids.empty() ? 0 : static_cast<double>(inside) / static_cast<double>(ids.size());
}

std::vector<std::uint64_t> count_tokens(std::span<const TokenId> ids, std::int64_t vocabulary) {
  std::vector<std::uint64_t> counts(static_cast<std::size_t>(vocabulary));
  for (const TokenId id : ids) ++counts[static_cast<std::size_t>(id)];
  return counts;
}

/// How much of the last fifth the kept sizes would have covered, counted on the rest.
ordered_json coverage_curve(std::span<const TokenId> ids, const Model& model) {
  auto curve = ordered_json::array();
  const std::size_t seen = ids.size() * 4 / 5;
  const auto counts = count_tokens(ids.first(seen), model.config().vocabulary);
  for (const int part : {32, 16, 8, 4, 2}) {
    const auto keep = static_cast<std::size_t>(model.config().vocabulary / part);
    curve.push_back({{"keep", keep}, {"coverage", coverage(counts, keep, ids.subspan(seen), model.tokenizer())}});
  }
  return curve;
}

Result<std::string> checksum(const std::string& path) {
  KINGLET_TRY(const Digest digest, sha256_file(path, [](std::uint64_t) { return !interrupted(); }));
  return digest.hex();
}

Result<void> report(const DrafterFile& drafter, const std::string& output, const ordered_json& curve, bool json) {
  if (json) return print_json({{"output", output}, {"kept", drafter.kept.size()}, {"held_out_coverage", curve}});
  std::string text = escape_for_terminal(output) + ": " + std::to_string(drafter.kept.size()) + " tokens\n";
  for (const auto& point : curve) {
    char line[96];
    std::snprintf(line, sizeof line, "  %7zu tokens cover %5.1f %% of the last fifth of the text\n",
                  point["keep"].get<std::size_t>(), 100 * point["coverage"].get<double>());
    text += line;
  }
  return print(text);
}

Result<void> trim(const Arguments& arguments) {
  if (!arguments.given("output") || !arguments.given("text"))
    return fail(ErrorCode::kInvalidArgument, "--output or --text is missing");
  const std::string name = arguments.positional()[1];
  KINGLET_TRY(const std::string path, resolve_model(name));
  KINGLET_TRY(const auto model, load_model(name, arguments));
  KINGLET_CHECK(check_generates(*model));
  KINGLET_TRY(const std::string text, read_file(arguments.text("text"), kMostText));
  std::vector<TokenId> ids = model->tokenizer().encode(text);
  if (ids.empty()) return fail(ErrorCode::kInvalidArgument, "the text is empty", "", arguments.text("text"));
  if (arguments.integer("generate") > 0) {
    KINGLET_TRY(ids, written(model, ids, arguments.integer("generate")));
  }
  const auto vocabulary = static_cast<std::size_t>(model->config().vocabulary);
  const auto keep = arguments.given("keep") ? static_cast<std::size_t>(arguments.integer("keep")) : vocabulary / 6;
  const auto counts = count_tokens(ids, model->config().vocabulary);
  DrafterFile drafter;
  drafter.kept = most_frequent(ranked(counts, arguments), std::min(keep, vocabulary), model->tokenizer());
  for (const TokenId id : drafter.kept)
    drafter.occurrences.push_back(static_cast<std::int64_t>(counts[static_cast<std::size_t>(id)]));
  KINGLET_TRY(drafter.target_sha256, checksum(path));
  if (arguments.given("layers")) {
    drafter.exit_layer = static_cast<int>(arguments.integer("layers"));
    if (drafter.exit_layer >= model->config().layers)
      return fail(ErrorCode::kInvalidArgument,
                  "the model has " + std::to_string(model->config().layers) + " layers: some must be left to verify");
  }
  if (arguments.given("with")) {
    drafter.model = arguments.text("with");
    KINGLET_TRY(const std::string second, resolve_model(drafter.model));
    KINGLET_TRY(drafter.model_sha256, checksum(second));
  }
  KINGLET_CHECK(write_drafter_file(arguments.text("output"), drafter));
  return report(drafter, arguments.text("output"), coverage_curve(ids, *model), arguments.flag("json"));
}

Result<void> run(const Arguments& arguments) {
  if (arguments.positional()[0] != "trim")
    return fail(ErrorCode::kInvalidArgument, "expected `trim`, found '" + arguments.positional()[0] + "'");
  return trim(arguments);
}

constexpr std::span<const OptionSpec> kSets[] = {kOptions};
constexpr std::string_view kExamples[] = {
    "kinglet drafter trim qwen2.5-coder-0.5b-instruct --text code.txt --layers 20 -o code.drafter",
    "kinglet run qwen2.5-coder-0.5b-instruct --drafter code.drafter \"Write quicksort.\"",
};

}  // namespace

extern const Command command_drafter = {
    .name = "drafter",
    .group = CommandGroup::kChange,
    .summary = "Make a drafter for speculation",
    .usage = "trim MODEL --text F -o OUT [options]",
    .description =
        "Keeps the most frequent tokens of a text (and all control tokens) in the drafter's output head: most of a "
        "vocabulary is never drafted, and a drafter reads its head for every token. The model that is drafted for "
        "keeps its whole vocabulary, so the tokens stay the same. `--drafter OUT` of run, chat and bench uses the "
        "file.",
    .options = kSets,
    .examples = kExamples,
    .min_positional = 2,
    .max_positional = 2,
    .run = run,
};

}  // namespace kinglet
