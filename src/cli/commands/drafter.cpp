#include <algorithm>
#include <charconv>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>

#include "base/file.h"
#include "base/interrupt.h"
#include "base/sha256.h"
#include "base/try.h"
#include "cli/command.h"
#include "cli/drafter.h"
#include "cli/generation.h"
#include "cli/output.h"
#include "decode/drafter_file.h"
#include "decode/prompt.h"
#include "decode/random.h"
#include "decode/trim_curve.h"
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
     .value_name = "N|auto",
     .help =
         "Tokens that may be proposed (without it: a sixth of the vocabulary); auto: with --generate, what a run on "
         "its last fifth says is worth most"},
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

/// What the model writes after pieces of the text, each with the piece before it: nearer to what drafts must meet than
/// the text is.
Result<std::vector<std::vector<TokenId>>> written(const std::shared_ptr<const Model>& model,
                                                  std::span<const TokenId> text, std::int64_t count) {
  KINGLET_TRY(const auto engine, Engine::create(model, {.context = 512}));
  constexpr std::int64_t kAnswer = 64;
  const std::int64_t pieces = std::max<std::int64_t>(1, count / kAnswer);
  std::vector<GenerateRequest> requests;
  std::vector<std::vector<TokenId>> texts;
  for (std::int64_t i = 0; i < pieces; ++i) {
    const auto length = static_cast<std::int64_t>(text.size());
    const std::int64_t begin = std::max<std::int64_t>(0, length - kPromptTokens) * i / pieces;
    GenerateRequest request;
    request.prompt.assign(text.begin() + begin, text.begin() + std::min(length, begin + kPromptTokens));
    request.options.max_tokens = kAnswer;
    request.options.ignore_eos = true;
    texts.push_back(request.prompt);
    requests.push_back(std::move(request));
  }
  KINGLET_TRY(const auto results, generate(*engine, std::move(requests), 8));
  for (std::size_t i = 0; i < results.size(); ++i) {
    if (results[i].error) return tl::unexpected<Error>(*results[i].error);
    if (results[i].finish_reason == "cancelled") return fail(ErrorCode::kCancelled, "interrupted");
    texts[i].insert(texts[i].end(), results[i].token_ids.begin(), results[i].token_ids.end());
  }
  return texts;
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

/// The sizes that a curve has.
std::vector<std::size_t> curve_sizes(const Model& model) {
  std::vector<std::size_t> sizes;
  for (const int part : {32, 16, 8, 4, 2, 1})
    sizes.push_back(static_cast<std::size_t>(model.config().vocabulary / part));
  return sizes;
}

/// One `trim`: what is counted, judged and written.
class Trimming {
 public:
  explicit Trimming(const Arguments& arguments) : arguments_(arguments) {}
  Result<void> run();

 private:
  Result<void> open();
  Result<void> count();
  Result<void> judge();
  Result<std::size_t> size() const;
  std::vector<std::uint64_t> counts(std::size_t fifths) const;

  const Arguments& arguments_;
  std::shared_ptr<const Model> model_;
  std::unique_ptr<Engine> target_, second_;
  DrafterFile drafter_;
  std::vector<std::vector<TokenId>> texts_;  ///< what the model wrote; empty: the text's own tokens count
  std::vector<TokenId> ids_;                 ///< what is counted
  std::vector<TokenId> read_;                ///< the text that texts_ came of; empty where its own tokens count
  ordered_json curve_;
};

Result<std::string> checksum(const std::string& path) {
  KINGLET_TRY(const Digest digest, sha256_file(path, [](std::uint64_t) { return !interrupted(); }));
  return digest.hex();
}

Result<void> report(const DrafterFile& drafter, const std::string& output, const ordered_json& curve, bool json) {
  if (json) return print_json({{"output", output}, {"kept", drafter.kept.size()}, {"held_out_coverage", curve}});
  std::string text = escape_for_terminal(output) + ": " + std::to_string(drafter.kept.size()) + " tokens\n";
  for (const auto& point : curve) {
    char line[192];
    std::snprintf(line, sizeof line, "  %7zu tokens cover %5.1f %% of the last fifth of what was counted",
                  point["keep"].get<std::size_t>(), 100 * point["coverage"].get<double>());
    text += line;
    if (point.contains("speed_up")) {
      std::snprintf(line, sizeof line, "; drafts of %d: %.2f tokens a pass, %.2fx where memory is the limit",
                    point["length"].get<int>(), point["block_efficiency"].get<double>(),
                    point["speed_up"].get<double>());
      text += line;
    }
    text += "\n";
  }
  return print(text);
}

Result<void> Trimming::open() {
  const std::string name = arguments_.positional()[1];
  KINGLET_TRY(const std::string path, resolve_model(name));
  KINGLET_TRY(model_, load_model(name, arguments_));
  KINGLET_CHECK(check_generates(*model_));
  KINGLET_TRY(drafter_.target_sha256, checksum(path));
  if (arguments_.given("layers")) {
    drafter_.exit_layer = static_cast<int>(arguments_.integer("layers"));
    if (drafter_.exit_layer >= model_->config().layers)
      return fail(ErrorCode::kInvalidArgument,
                  "the model has " + std::to_string(model_->config().layers) + " layers: some must be left to verify");
  }
  if (arguments_.given("with")) {
    drafter_.model = arguments_.text("with");
    KINGLET_TRY(const std::string second, resolve_model(drafter_.model));
    KINGLET_TRY(drafter_.model_sha256, checksum(second));
  }
  return {};
}

Result<void> Trimming::count() {
  KINGLET_TRY(const std::string text, read_file(arguments_.text("text"), kMostText));
  ids_ = model_->tokenizer().encode(text);
  if (ids_.empty()) return fail(ErrorCode::kInvalidArgument, "the text is empty", "", arguments_.text("text"));
  if (arguments_.integer("generate") == 0) return {};
  KINGLET_TRY(texts_, written(model_, ids_, arguments_.integer("generate")));
  const auto given = static_cast<std::ptrdiff_t>(std::min<std::size_t>(ids_.size(), kPromptTokens));
  read_ = std::exchange(ids_, {});
  for (const auto& one : texts_) ids_.insert(ids_.end(), one.begin() + given, one.end());
  return {};
}

/// Over the first `fifths` of all. What the model wrote has few different tokens: among those that it wrote as often,
/// the text decides.
std::vector<std::uint64_t> Trimming::counts(std::size_t fifths) const {
  const auto part = [&](std::span<const TokenId> ids) { return ids.first(ids.size() * fifths / 5); };
  auto counts = count_tokens(part(ids_), model_->config().vocabulary);
  const auto ties = count_tokens(part(read_), model_->config().vocabulary);
  for (std::size_t id = 0; id < counts.size(); ++id) counts[id] = counts[id] * (read_.size() + 1) + ties[id];
  return ranked(std::move(counts), arguments_);
}

/// How much of the last fifth the sizes would have covered, counted on the rest; and lets the drafter read along with
/// the last fifth of what the model wrote.
Result<void> Trimming::judge() {
  const auto seen_counts = counts(4);
  const auto held_out = std::span<const TokenId>(ids_).subspan(ids_.size() * 4 / 5);
  const auto sizes = curve_sizes(*model_);
  curve_ = ordered_json::array();
  for (const std::size_t keep : sizes)
    curve_.push_back({{"keep", keep}, {"coverage", coverage(seen_counts, keep, held_out, model_->tokenizer())}});
  if (texts_.size() < 5) return {};
  KINGLET_TRY(target_, Engine::create(model_, {.context = 512}));
  if (!drafter_.model.empty()) {
    KINGLET_TRY(const auto second, load_model(drafter_.model, arguments_));
    if (!same_vocabulary(*second, *model_))
      return fail(ErrorCode::kUnsupported, "the second model has another vocabulary", "", drafter_.model);
    KINGLET_TRY(second_, Engine::create(second, {.context = 512}));
  }
  const std::size_t seen = texts_.size() * 4 / 5;
  const auto order = by_frequency(seen_counts, seen_counts.size(), model_->tokenizer());
  const auto layers = static_cast<int>(model_->config().layers);
  KINGLET_TRY(const auto points,
              trim_curve({.target = target_.get(),
                          .second = second_.get(),
                          .exit_layer = drafter_.exit_layer > 0 ? drafter_.exit_layer : std::max(1, layers * 2 / 3),
                          .texts = std::span<const std::vector<TokenId>>(texts_).subspan(seen),
                          .given = static_cast<std::size_t>(kPromptTokens),
                          .order = order,
                          .sizes = sizes}));
  for (std::size_t i = 0; i < points.size(); ++i) {
    curve_[i]["accepted"] = points[i].accepted;
    curve_[i]["length"] = points[i].length;
    curve_[i]["block_efficiency"] = points[i].block_efficiency;
    curve_[i]["speed_up"] = points[i].speed_up;
  }
  return {};
}

Result<std::size_t> Trimming::size() const {
  const auto vocabulary = static_cast<std::size_t>(model_->config().vocabulary);
  const std::string asked = arguments_.text("keep");
  if (asked.empty()) return vocabulary / 6;
  if (asked == "auto") {
    std::size_t best = 0;
    for (std::size_t i = 0; i < curve_.size(); ++i) {
      if (!curve_[i].contains("speed_up"))
        return fail(ErrorCode::kInvalidArgument, "--keep auto needs --generate of at least 320 tokens");
      if (curve_[i]["speed_up"].get<double>() > curve_[best]["speed_up"].get<double>()) best = i;
    }
    return curve_[best]["keep"].get<std::size_t>();
  }
  std::size_t keep = 0;
  const auto [end, error] = std::from_chars(asked.data(), asked.data() + asked.size(), keep);
  if (error != std::errc() || end != asked.data() + asked.size() || keep < 16)
    return fail(ErrorCode::kInvalidArgument,
                "--keep expects auto or a whole number of at least 16, found '" + asked + "'");
  return std::min(keep, vocabulary);
}

Result<void> Trimming::run() {
  if (!arguments_.given("output") || !arguments_.given("text"))
    return fail(ErrorCode::kInvalidArgument, "--output or --text is missing");
  KINGLET_CHECK(open());
  KINGLET_CHECK(count());
  KINGLET_CHECK(judge());
  KINGLET_TRY(const std::size_t keep, size());
  drafter_.kept = most_frequent(counts(5), keep, model_->tokenizer());
  const auto occurrences = count_tokens(ids_, model_->config().vocabulary);
  for (const TokenId id : drafter_.kept)
    drafter_.occurrences.push_back(static_cast<std::int64_t>(occurrences[static_cast<std::size_t>(id)]));
  drafter_.curve = curve_.dump();
  KINGLET_CHECK(write_drafter_file(arguments_.text("output"), drafter_));
  return report(drafter_, arguments_.text("output"), curve_, arguments_.flag("json"));
}

Result<void> run(const Arguments& arguments) {
  if (arguments.positional()[0] != "trim")
    return fail(ErrorCode::kInvalidArgument, "expected `trim`, found '" + arguments.positional()[0] + "'");
  return Trimming(arguments).run();
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
