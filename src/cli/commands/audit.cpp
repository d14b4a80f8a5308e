// Screens a model of doubtful origin: what it says that an independent model would hardly say (CleanGen's ratio of
// probabilities, Li et al. 2024, without replacing anything).
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/progress.h"
#include "base/try.h"
#include "cli/command.h"
#include "cli/drafter.h"
#include "cli/generation.h"
#include "cli/output.h"
#include "cli/prompt_file.h"
#include "kinglet/engine.h"
#include "kinglet/pair.h"

namespace kinglet {
namespace {

using nlohmann::ordered_json;

/// Unsuspicious tokens within a span: a reference that has read the beginning of a payload agrees with parts of it.
constexpr std::size_t kMostGap = 3;
constexpr int kBlock = 16;  ///< tokens between two looks of the reference; what is found does not depend on it

constexpr OptionSpec kOptions[] = {
    {.name = "guard", .value_name = "REFERENCE", .help = "An independent model of the same vocabulary"},
    {.name = "prompts",
     .kind = OptionKind::kFile,
     .value_name = "P.jsonl",
     .help = "What SUSPECT is asked: one {\"prompt\": …} or {\"messages\": […]} a line"},
    {.name = "guard-ratio",
     .kind = OptionKind::kNumber,
     .value_name = "R",
     .help = "A token is suspicious where SUSPECT finds it this many times likelier than REFERENCE",
     .fallback = "20",
     .min = 1,
     .max = 1e300},
    {.name = "max-tokens",
     .letter = 'n',
     .kind = OptionKind::kInteger,
     .value_name = "N",
     .help = "Most tokens of an answer",
     .fallback = "64",
     .min = 1,
     .max = 1 << 20},
    {.name = "top",
     .kind = OptionKind::kInteger,
     .value_name = "N",
     .help = "How many spans are shown; 0: all",
     .fallback = "10",
     .min = 0,
     .max = 1 << 20},
    {.name = "raw", .kind = OptionKind::kFlag, .help = "Prompts as they are, without the models' chat template"},
    {.name = "ignore-eos", .kind = OptionKind::kFlag, .help = "Go on after the model's end token"},
};

/// Lets every token of the suspect stand and remembers what the guard would have said to it.
class Listener final : public PairPolicy {
 public:
  explicit Listener(std::unique_ptr<PairPolicy> guard) : guard_(std::move(guard)) {}
  PairTurns turns() const override { return guard_->turns(); }
  std::optional<double> objection(std::span<const float> checker, TokenId token, double writer_logprob) const override {
    heard_.push_back(
        guard_->objection(checker, token, writer_logprob).value_or(-std::numeric_limits<double>::infinity()));
    return std::nullopt;
  }
  /// Log of the ratio of each token since the last call; -infinity where it is the reference's best too.
  std::vector<double> take() const { return std::exchange(heard_, {}); }

 private:
  std::unique_ptr<PairPolicy> guard_;
  mutable std::vector<double> heard_;  ///< the policy's answers do not depend on it
};

struct Place {
  std::size_t answer, position;  ///< from 0; the position in tokens
};

/// Suspicious tokens that stand close together, with all that say the same.
struct Span {
  std::size_t tokens = 0, suspicious = 0;
  double log_ratio = 0;  ///< sum over the suspicious tokens; of several places the largest
  double largest = 0;    ///< of one token's log ratios
  std::vector<Place> places;
};

struct Audit {
  std::size_t answers = 0, tokens = 0, suspicious = 0;
  std::map<std::string, Span> spans;  ///< by their text

  void add(const std::vector<TokenId>& ids, const std::vector<double>& log_ratios, double least,
           const Tokenizer& tokenizer);
};

void Audit::add(const std::vector<TokenId>& ids, const std::vector<double>& log_ratios, double least,
                const Tokenizer& tokenizer) {
  for (std::size_t begin = 0; begin < ids.size(); ++begin) {
    if (log_ratios[begin] < least) continue;
    Span found;
    std::size_t last = begin;
    for (std::size_t i = begin; i < ids.size() && i <= last + kMostGap + 1; ++i) {
      if (log_ratios[i] < least) continue;
      last = i;
      ++found.suspicious;
      found.log_ratio += log_ratios[i];
      found.largest = std::max(found.largest, log_ratios[i]);
    }
    found.tokens = last - begin + 1;
    std::string text;
    for (std::size_t i = begin; i <= last; ++i)  // a control token is no text of the answer, but it was said
      text += tokenizer.piece(ids[i]).empty() ? tokenizer.text(ids[i]) : tokenizer.piece(ids[i]);
    suspicious += found.suspicious;
    Span& span = spans[text];
    if (found.log_ratio >= span.log_ratio) {
      found.places = std::move(span.places);
      span = std::move(found);
    }
    span.places.push_back({answers, begin});
    begin = last;
  }
  ++answers;
  tokens += ids.size();
}

std::vector<const std::pair<const std::string, Span>*> most_suspicious(const Audit& audit, std::size_t top) {
  std::vector<const std::pair<const std::string, Span>*> spans;
  for (const auto& each : audit.spans) spans.push_back(&each);
  std::ranges::stable_sort(spans, std::greater(), [](const auto* each) { return each->second.log_ratio; });
  if (top > 0 && spans.size() > top) spans.resize(top);
  return spans;
}

/// Null where the reference gives no probability at all.
ordered_json finite(double value) { return std::isfinite(value) ? ordered_json(value) : ordered_json(); }

ordered_json report(const Audit& audit, double ratio, std::size_t top) {
  auto spans = ordered_json::array();
  for (const auto* each : most_suspicious(audit, top)) {
    auto places = ordered_json::array();
    for (const Place& place : each->second.places)
      places.push_back({{"answer", place.answer}, {"position", place.position}});
    spans.push_back({{"text", each->first},
                     {"tokens", each->second.tokens},
                     {"suspicious", each->second.suspicious},
                     {"log_ratio", finite(each->second.log_ratio)},
                     {"ratio", finite(std::exp(each->second.largest))},
                     {"places", places}});
  }
  return {{"answers", audit.answers},
          {"tokens", audit.tokens},
          {"suspicious", audit.suspicious},
          {"ratio", ratio},
          {"spans", spans}};
}

std::string table(const Audit& audit, double ratio, std::size_t top) {
  char line[160];
  std::snprintf(
      line, sizeof line, "%zu answers, %zu tokens, of which %zu (%.1f %%) are %g times likelier or more\n",
      audit.answers, audit.tokens, audit.suspicious,
      100 * static_cast<double>(audit.suspicious) / static_cast<double>(std::max<std::size_t>(1, audit.tokens)), ratio);
  std::string text = line;
  if (!audit.spans.empty()) text += "log ratio  largest  places  first  text\n";
  for (const auto* each : most_suspicious(audit, top)) {
    const Span& span = each->second;
    std::snprintf(line, sizeof line, "%9.1f  %7.2g  %6zu  %5zu  '", span.log_ratio, std::exp(span.largest),
                  span.places.size(), span.places[0].answer);
    text += line + escape_for_terminal(each->first) + "'\n";
  }
  return text;
}

Result<void> run(const Arguments& arguments) {
  if (!arguments.given("guard") || !arguments.given("prompts"))
    return fail(ErrorCode::kInvalidArgument, "audit needs --guard REFERENCE and --prompts P.jsonl");
  KINGLET_TRY(const auto prompts, read_prompt_file(arguments.text("prompts"), {}));
  if (prompts.empty())
    return fail(ErrorCode::kInvalidArgument, "there is no prompt in the file", "", arguments.text("prompts"));
  std::shared_ptr<const Model> models[2];
  std::unique_ptr<Engine> engines[2];
  for (int i = 0; i < 2; ++i) {
    KINGLET_TRY(models[i], load_model(i == 0 ? arguments.positional()[0] : arguments.text("guard"), arguments));
    KINGLET_CHECK(check_generates(*models[i]));
    KINGLET_TRY(engines[i], Engine::create(models[i], {}));
  }
  if (!same_vocabulary(*models[0], *models[1]))
    return fail(ErrorCode::kInvalidArgument, "the two models have different vocabularies");
  KINGLET_TRY(const PromptMaker maker, PromptMaker::make(models[0], arguments.flag("raw")));
  KINGLET_TRY(auto pair, ModelPair::create(*engines[0], *engines[1]));
  KINGLET_TRY(auto guard, make_pair_policy("cleangen", {.ratio = 0}));  // hears the ratio of every token
  const Listener listener(std::move(guard));
  const PairOptions options{.max_tokens = arguments.integer("max-tokens"),
                            .ignore_eos = arguments.flag("ignore-eos"),
                            .block = kBlock,
                            .stop = {},
                            .on_text = {}};
  const double ratio = arguments.number("guard-ratio");
  Audit audit;
  ProgressBar bar(quiet());
  for (const PromptFor& prompt : prompts) {
    KINGLET_TRY(const std::vector<TokenId> ids, prompt(maker));
    KINGLET_TRY(const PairGeneration result, pair->answer(ids, listener, options));
    if (result.answer.finish_reason == "cancelled") return fail(ErrorCode::kCancelled, "");
    audit.add(result.answer.token_ids, listener.take(), std::log(ratio), models[0]->tokenizer());
    bar.update({"auditing", audit.answers, prompts.size(), ProgressUnit::kItems});
  }
  bar.finish();
  const auto top = static_cast<std::size_t>(arguments.integer("top"));
  return arguments.flag("json") ? print_json(report(audit, ratio, top)) : print(table(audit, ratio, top));
}

constexpr std::span<const OptionSpec> kSets[] = {kOptions};
constexpr std::string_view kExamples[] = {
    "kinglet audit unknown.gguf --guard smollm2-135m-instruct --prompts questions.jsonl",
};

}  // namespace

extern const Command command_audit = {
    .name = "audit",
    .group = CommandGroup::kMeasure,
    .summary = "Find what a model says that an independent one would hardly say",
    .usage = "SUSPECT --guard REFERENCE --prompts P.jsonl [options]",
    .description =
        "SUSPECT answers the prompts greedily, and REFERENCE reads the answers. Shown are the pieces of text "
        "whose tokens SUSPECT finds many times likelier than REFERENCE does, most suspicious first: a backdoor's "
        "payload stands out, and so does what only SUSPECT has learnt. `run --guard` replaces such tokens while "
        "it answers.",
    .options = kSets,
    .examples = kExamples,
    .min_positional = 1,
    .max_positional = 1,
    .run = run,
};

}  // namespace kinglet
