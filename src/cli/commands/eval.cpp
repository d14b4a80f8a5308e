#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>

#include "base/file.h"
#include "base/progress.h"
#include "base/try.h"
#include "cli/command.h"
#include "cli/constraint.h"
#include "cli/generation.h"
#include "cli/given_ids.h"
#include "cli/output.h"
#include "cli/team.h"
#include "decode/prompt.h"
#include "decode/softmax.h"
#include "engine/early_exit.h"
#include "kinglet/ffn_skip.h"
#include "kinglet/measure.h"
#include "measure/places_json.h"

namespace kinglet {
namespace {

using nlohmann::ordered_json;

constexpr std::uint64_t kMostTextBytes = std::uint64_t{4} << 30;

constexpr OptionSpec kOptions[] = {
    {.name = "text",
     .kind = OptionKind::kFile,
     .value_name = "F",
     .help = "The text to read (UTF-8; - is standard input)"},
    {.name = "against",
     .value_name = "OTHER",
     .help = "Also compare with this model: divergence of MODEL from OTHER, in one pass"},
    {.name = "stride",
     .kind = OptionKind::kInteger,
     .value_name = "N",
     .help = "Windows start every N tokens and score their last N; without it they do not overlap and score their "
             "second half",
     .min = 1,
     .max = 1 << 24},
    {.name = "batch",
     .kind = OptionKind::kInteger,
     .value_name = "N",
     .help = "Read token by token, as decoding does, N windows side by side; 0: in large pieces",
     .fallback = "0",
     .min = 0,
     .max = 256},
    {.name = "ids",
     .kind = OptionKind::kFile,
     .value_name = "I.json",
     .help = "Read token ids instead of text: a list of sequences, fed as they are; each is also scored by itself"},
    {.name = "logits",
     .kind = OptionKind::kFile,
     .value_name = "OUT.npy",
     .help = "With --ids: write all logits, float32 [all tokens, vocabulary]"},
    {.name = "worst",
     .kind = OptionKind::kInteger,
     .value_name = "N",
     .help = "With --against: how many of the worst places to show",
     .fallback = "10",
     .min = 0,
     .max = 10000},
    {.name = "max-perplexity",
     .kind = OptionKind::kNumber,
     .value_name = "X",
     .help = "Fail with exit status 6 above this perplexity",
     .min = 1},
    {.name = "max-kl",
     .kind = OptionKind::kNumber,
     .value_name = "X",
     .help = "With --against: fail with exit status 6 above this mean divergence",
     .min = 0},
};

ordered_json evaluation_json(const Evaluation& result) {
  ordered_json value = {{"perplexity", result.perplexity},
                        {"nll", result.nll},
                        {"nll_standard_error", result.standard_error},
                        {"tokens", result.tokens},
                        {"seconds", result.seconds}};
  if (!result.divergence) return value;
  const Divergence& kl = *result.divergence;
  value["kl"] = {{"mean", kl.mean},
                 {"standard_error", kl.standard_error},
                 {"median", kl.median},
                 {"p99", kl.p99},
                 {"max", kl.max}};
  value["top1_agreement"] = kl.top1_agreement;
  value["reference_perplexity"] = std::exp(kl.reference_nll);
  value["worst"] = worst_places_json(kl);
  return value;
}

std::string evaluation_text(const Evaluation& result) {
  char line[512];
  std::snprintf(line, sizeof line, "perplexity %.4f ± %.4f (%.5f nats a token, %lld tokens scored, %.1f s)\n",
                result.perplexity, result.perplexity * result.standard_error, result.nll,
                static_cast<long long>(result.tokens), result.seconds);
  std::string text = line;
  if (!result.divergence) return text;
  const Divergence& kl = *result.divergence;
  std::snprintf(line, sizeof line,
                "reference perplexity %.4f\nKL divergence  mean %.6f ± %.6f  median %.6f  p99 %.5f  max %.4f\nsame "
                "best token %.2f %%\n",
                std::exp(kl.reference_nll), kl.mean, kl.standard_error, kl.median, kl.p99, kl.max,
                100 * kl.top1_agreement);
  text += line;
  if (!kl.worst.empty()) text += "worst places (token number, divergence, text, the token that follows):\n";
  for (const Disagreement& place : kl.worst) {
    std::snprintf(line, sizeof line, "%8zu  %.4f  ", place.position, place.kl);
    text += line + escape_for_terminal("…" + place.before) + " | " + escape_for_terminal(place.token);
    std::snprintf(line, sizeof line, " (%.3f, reference %.3f)", place.model_probability, place.reference_probability);
    text += line;
    if (place.model_best != place.reference_best)
      text += "; best '" + escape_for_terminal(place.model_best) + "', reference '" +
              escape_for_terminal(place.reference_best) + "'";
    text += "\n";
  }
  return text;
}

Result<std::vector<TextWindow>> windows_of(const Arguments& arguments, const Model& model) {
  if (arguments.given("ids") == arguments.given("text"))
    return fail(ErrorCode::kInvalidArgument, "eval needs one of --text F and --ids I.json");
  if (arguments.given("logits") && !arguments.given("ids"))
    return fail(ErrorCode::kInvalidArgument, "--logits needs --ids");
  std::vector<TextWindow> windows;
  if (arguments.given("ids")) {
    KINGLET_TRY(windows, read_ids(arguments.text("ids")));
  } else {
    KINGLET_TRY(const std::string text, read_file(arguments.text("text"), kMostTextBytes));
    const Tokenizer& tokenizer = model.tokenizer();
    std::vector<TokenId> ids = tokenizer.encode(text);
    if (tokenizer.adds_bos && tokenizer.bos >= 0) ids.insert(ids.begin(), tokenizer.bos);
    KINGLET_TRY(windows, make_windows(ids, tokenizer,
                                      {.context = arguments.given("context") ? arguments.integer("context") : 512,
                                       .stride = arguments.given("stride") ? arguments.integer("stride") : 0}));
  }
  for (const TextWindow& window : windows)
    for (TokenId id : window.ids)
      if (id >= model.config().vocabulary)
        return fail(ErrorCode::kInvalidArgument, "the token id " + std::to_string(id) +
                                                     " is not in the vocabulary of " +
                                                     std::to_string(model.config().vocabulary) + " tokens");
  return windows;
}

Result<void> check_gates(const Arguments& arguments, const Evaluation& result) {
  char text[128];
  if (arguments.given("max-perplexity") && !(result.perplexity <= arguments.number("max-perplexity"))) {
    std::snprintf(text, sizeof text, "perplexity %.4f is above %.4f", result.perplexity,
                  arguments.number("max-perplexity"));
    return fail(ErrorCode::kQualityGate, text);
  }
  if (arguments.given("max-kl") && result.divergence && !(result.divergence->mean <= arguments.number("max-kl"))) {
    std::snprintf(text, sizeof text, "mean divergence %.6f is above %.6f", result.divergence->mean,
                  arguments.number("max-kl"));
    return fail(ErrorCode::kQualityGate, text);
  }
  return {};
}

/// Holds the scores to a grammar: what it forbids after the text so far has no share of the probability.
class GrammarScores {
 public:
  GrammarScores(const Constraint& constraint, std::span<const TextWindow> windows, const Tokenizer& tokenizer,
                bool one_text)
      : matcher_(*constraint.grammar(), constraint.vocabulary()),
        windows_(windows),
        tokenizer_(tokenizer),
        one_text_(one_text) {}

  Result<void> reshape(std::size_t window, std::size_t index, std::span<float> row) {
    if (!one_text_ && window != window_) fed_ = 0, matcher_.reset();
    window_ = window;
    const std::size_t offset = one_text_ ? windows_[window].text_offset : 0;
    for (; fed_ < offset + index; ++fed_) {
      // Windows that do not overlap: what the last ones left out stands in those before.
      std::size_t at = window;
      while (one_text_ && windows_[at].text_offset > fed_) --at;
      const TokenId id = windows_[at].ids[fed_ - (one_text_ ? windows_[at].text_offset : 0)];
      if (fed_ == 0 && id == tokenizer_.bos) continue;  // before the grammar's text
      if (!matcher_.accept(id)) {
        if (auto error = matcher_.failure()) return tl::unexpected(std::move(*error));
        return fail(ErrorCode::kInvalidArgument,
                    "the text leaves the grammar at token " + std::to_string(fed_) + " ('" +
                        std::string(tokenizer_.piece(id)) + "')",
                    "With a grammar, eval scores texts that it allows.");
      }
    }
    const auto mask = matcher_.mask();
    if (auto error = matcher_.failure()) return tl::unexpected(std::move(*error));
    for (std::size_t id = 0; id < row.size(); ++id)
      if (id / 64 >= mask.size() || (mask[id / 64] >> (id % 64) & 1) == 0)
        row[id] = -std::numeric_limits<float>::infinity();
    const TokenId next = windows_[window].ids[index];
    if (row[static_cast<std::size_t>(next)] == -std::numeric_limits<float>::infinity())
      return fail(ErrorCode::kInvalidArgument,
                  "the text leaves the grammar at token " + std::to_string(offset + index) + " ('" +
                      std::string(tokenizer_.piece(next)) + "')",
                  "With a grammar, eval scores texts that it allows.");
    return {};
  }

 private:
  GrammarMatcher matcher_;
  std::span<const TextWindow> windows_;
  const Tokenizer& tokenizer_;
  bool one_text_;
  std::size_t window_ = 0, fed_ = 0;
};

/// Scores what two models say together: at each place the distribution of the one that would write the token there.
class PairScores {
 public:
  explicit PairScores(OpenPair pair) : pair_(std::move(pair)) {}
  Engine* other() const { return pair_.other.get(); }

  void combine(std::span<float> row, std::span<const float> other) {
    const std::span<const float> writer = pair_.guards ? std::span<const float>(row) : other;
    const std::span<const float> checker = pair_.guards ? other : std::span<const float>(row);
    ++places_;
    const auto best = static_cast<TokenId>(std::min(argmax(writer), writer.size() - 1));
    const bool hands_over = pair_.policy->hands_over(writer);
    const bool objects =
        !hands_over &&
        pair_.policy->objection(checker, best, writer[static_cast<std::size_t>(best)] - log_sum_exp(writer))
            .has_value();
    handed_ += hands_over;
    replaced_ += objects;
    if ((hands_over || objects) == pair_.guards) std::copy(other.begin(), other.end(), row.begin());
  }
  ordered_json json() const {
    return {{"places", places_}, {"handed_over", share(handed_)}, {"replaced", share(replaced_)}};
  }
  std::string text() const {
    if (!pair_.other) return "";
    char line[160];
    std::snprintf(line, sizeof line, "the writer hands over at %.2f %% of the places, and is replaced at %.2f %%\n",
                  100 * share(handed_), 100 * share(replaced_));
    return line;
  }

 private:
  double share(std::int64_t count) const {
    return places_ > 0 ? static_cast<double>(count) / static_cast<double>(places_) : 0;
  }
  OpenPair pair_;
  std::int64_t places_ = 0, handed_ = 0, replaced_ = 0;
};

Result<void> run(const Arguments& arguments) {
  KINGLET_TRY(EngineOptions options, engine_options(arguments));
  if (!options.lazy_prefill.empty())
    return fail(ErrorCode::kInvalidArgument, "eval scores the tokens of a prompt, and --lazy-prefill leaves some out",
                "Compare answers: kinglet run --prompts P.jsonl --lazy-prefill RATES");
  const int chunk = static_cast<int>(arguments.integer("prefill-chunk"));
  KINGLET_TRY(auto model, load_model(arguments.positional()[0], arguments));
  KINGLET_CHECK(check_generates(*model));
  KINGLET_TRY(const auto windows, windows_of(arguments, *model));
  options.context = 0;
  for (const TextWindow& window : windows)
    options.context = std::max(options.context, static_cast<std::int64_t>(window.ids.size()));
  KINGLET_TRY(auto engine, Engine::create(model, options));
  std::unique_ptr<Engine> reference;
  constexpr std::string_view kWhole[] = {"route"};
  KINGLET_CHECK(refuse_options(arguments, "eval, which scores tokens and not whole answers,", kWhole));
  KINGLET_TRY(OpenPair pair, open_pair(arguments, *engine));
  if (pair.other && (arguments.given("against") || arguments.given("logits")))
    return fail(ErrorCode::kInvalidArgument, "two models that answer together are scored alone",
                "Leave --against and --logits away.");
  PairScores together(std::move(pair));
  if (arguments.given("against")) {
    KINGLET_TRY(auto other, load_model(arguments.text("against"), arguments));
    KINGLET_CHECK(check_generates(*other));
    // What it is compared with remembers everything as well as it can: a cache's cost shows against the model itself.
    EngineOptions plain = options;
    plain.cache = CacheType::kF16;
    plain.cache_policy = "full";
    plain.ffn_skip = nullptr;
    plain.early_exit.clear();
    KINGLET_TRY(reference, Engine::create(std::move(other), std::move(plain)));
  }
  KINGLET_TRY(Constraint constraint, Constraint::from(arguments));
  KINGLET_CHECK(constraint.bind(model->tokenizer()));
  if (constraint.given() && arguments.given("logits"))
    return fail(ErrorCode::kInvalidArgument, "--logits are the model's own; a grammar cannot hold them");
  if (arguments.integer("batch") > 0 && (arguments.given("logits") || constraint.given()))
    return fail(ErrorCode::kInvalidArgument, "--batch goes neither with --logits nor with a grammar",
                "--prefill-chunk 1 reads token by token, too.");
  if (constraint.given() && model->tokenizer().adds_bos && windows.size() > 1)
    return fail(ErrorCode::kInvalidArgument, "with a grammar the whole text stands in one window",
                "Give a --context of at least the text's tokens.");
  Evaluation result;
  if (arguments.given("logits")) {
    KINGLET_TRY(result, write_logits(*engine, windows, arguments.text("logits"), chunk));
  }
  if (!arguments.given("logits") || reference) {
    ProgressBar bar(quiet());
    EvaluateOptions how{.chunk = chunk,
                        .batch = static_cast<int>(arguments.integer("batch")),
                        .worst = static_cast<std::size_t>(arguments.integer("worst")),
                        .progress = {}};
    how.progress = [&](std::uint64_t done, std::uint64_t total) {
      bar.update({.activity = "eval", .done = done, .total = total});
    };
    std::optional<GrammarScores> scores;
    if (constraint.given()) {
      scores.emplace(constraint, windows, model->tokenizer(), !arguments.given("ids"));
      how.reshape = [&](std::size_t window, std::size_t index, std::span<float> row) {
        return scores->reshape(window, index, row);
      };
    }
    if (together.other() != nullptr)
      how.combine = [&](std::span<float> row, std::span<const float> other) { together.combine(row, other); };
    KINGLET_TRY(result, evaluate(*engine, together.other() ? together.other() : reference.get(), windows, how));
    if (together.other() != nullptr) result.divergence.reset();
  }
  ordered_json value = evaluation_json(result);
  if (together.other() != nullptr) value["pair"] = together.json();
  if (arguments.given("ids") && !arguments.given("logits"))
    for (const WindowScore& window : result.windows)
      value["sequences"].push_back({{"nll", window.nll}, {"tokens", window.tokens}});
  value["weight_bytes_per_token"] =
      static_cast<double>(engine->weights_read()) / static_cast<double>(std::max<std::int64_t>(result.fed, 1));
  if (options.ffn_skip) {
    value["ffn_skip"] = ffn_skip_json(*options.ffn_skip);
    value["ffn_skip"]["share_of_all"] =
        static_cast<double>(options.ffn_skip->skipped) /
        static_cast<double>(std::max<std::int64_t>(result.fed * model->config().layers, 1));
  }
  if (const ExitCounts* exits = exit_counts(*engine))
    value["early_exit"] = {{"drawn", exits->drawn}, {"mean_layers", exits->mean_layers()}};
  KINGLET_CHECK(arguments.flag("json") ? print_json(value) : print(evaluation_text(result) + together.text()));
  return check_gates(arguments, result);
}

constexpr std::span<const OptionSpec> kSets[] = {kOptions};
constexpr std::string_view kExamples[] = {
    "kinglet eval smollm2-135m-instruct --text book.txt --context 512",
    "kinglet eval small.gguf --against original.gguf --text book.txt  # what compression changed, and where",
    "kinglet eval gemma-3-270m --ids ids.json --logits logits.npy --json",
};

}  // namespace

extern const Command command_eval = {
    .name = "eval",
    .group = CommandGroup::kMeasure,
    .summary = "Measure a model's quality on a text",
    .usage = "MODEL --text F [options]",
    .description =
        "Perplexity over windows of --context tokens (512): BOS first where the model adds one, the second half of "
        "each "
        "window scored, an incomplete last window left out. With --against, both models read the text at the same "
        "time, "
        "and the divergence of MODEL from OTHER is reported with the places where it is worst; OTHER has the plain f16 "
        "cache, so MODEL against itself measures --cache and --cache-policy.",
    .options = kSets,
    .examples = kExamples,
    .min_positional = 1,
    .max_positional = 1,
    .run = run,
    .more_options = generation_options,
};

}  // namespace kinglet
