#include "cli/generation.h"

#include <unistd.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif

#include <algorithm>
#include <charconv>
#include <deque>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "base/sha256.h"
#include "base/try.h"
#include "cli/constraint.h"
#include "cli/team.h"
#include "kinglet/ffn_skip.h"
#include "kinglet/store.h"
#include "kinglet/weight_stream.h"

namespace kinglet {
namespace {

constexpr std::string_view kCacheTypes[] = {"f32", "f16", "bf16", "int8", "int4"};
constexpr std::string_view kAcceptance[] = {"same", "ratio"};
constexpr std::uint64_t kMaxText = std::uint64_t{1} << 30;
constexpr int kLeastRows = 64;  ///< of a pass: a tree of drafts, or a batch

constexpr OptionSpec kEngine[] = {
    {.name = "context",
     .kind = OptionKind::kInteger,
     .value_name = "N",
     .help = "Most positions that a sequence may have (without it: the model's own)",
     .min = 1,
     .max = 1 << 24},
    {.name = "cache",
     .kind = OptionKind::kChoice,
     .value_name = "TYPE",
     .help = "How keys and values are remembered",
     .fallback = "f16",
     .choices = kCacheTypes},
    {.name = "cache-policy",
     .kind = OptionKind::kText,
     .value_name = "NAME",
     .help = "Which positions stay: full, or NAME[:key=value,…] of `kinglet list methods`, for any length",
     .fallback = "full"},
    {.name = "ffn-skip",
     .kind = OptionKind::kFile,
     .value_name = "FILE",
     .help = "Skip feed-forwards as `kinglet calibrate ffn-skip` found; changes the answer"},
    {.name = "early-exit",
     .kind = OptionKind::kText,
     .value_name = "LAYER:P,…",
     .help = "Draw a token after LAYER where its probability is at least P; changes the answer"},
    {.name = "weight-memory",
     .kind = OptionKind::kSize,
     .value_name = "SIZE",
     .help = "Most memory for MODEL's weights; layers beyond it are read from disk for every pass",
     .min = 1},
    {.name = "keep-coded",
     .kind = OptionKind::kFlag,
     .help = "MODEL's entropy-coded matrices stay coded in memory: less of it, slower, the same answer"},
    {.name = "no-read-ahead",
     .kind = OptionKind::kFlag,
     .help = "With --weight-memory: read a layer only when a pass has come to it (the answer is the same)"},
    {.name = "lazy-prefill",
     .kind = OptionKind::kText,
     .value_name = "RATES",
     .help = "Shares of a prompt's tokens that later layers leave out, as 0.3,0.3,0.3[@LAYER,…]; changes the answer"},
    {.name = "prefill-chunk",
     .kind = OptionKind::kInteger,
     .value_name = "N",
     .help = "Most prompt tokens in one pass; 0: 512. With --weight-memory fewer also take less memory",
     .fallback = "0",
     .min = 0,
     .max = 65536},
};

constexpr OptionSpec kAnswer[] = {
    {.name = "raw", .kind = OptionKind::kFlag, .help = "The prompt as it is, without the model's chat template"},
    {.name = "max-tokens",
     .letter = 'n',
     .kind = OptionKind::kInteger,
     .value_name = "N",
     .help = "Most tokens of an answer",
     .fallback = "512",
     .min = 0,
     .max = 1 << 24},
    {.name = "ignore-eos", .kind = OptionKind::kFlag, .help = "Go on after the model's end token"},
    {.name = "seed",
     .kind = OptionKind::kInteger,
     .value_name = "N",
     .help = "Seed of the random choices",
     .fallback = "0",
     .min = 0,
     .max = 9007199254740992.0},
    {.name = "stop",
     .kind = OptionKind::kText,
     .value_name = "TEXT",
     .help = "End the answer before this text",
     .repeatable = true},
    {.name = "drafter",
     .kind = OptionKind::kText,
     .value_name = "NAME",
     .help =
         "Who proposes tokens that the model checks many at once: none, ngram, layers[:N], auto, a model, auto,MODEL, "
         "tree,MODEL",
     .fallback = "none"},
    {.name = "draft-budget",
     .kind = OptionKind::kInteger,
     .value_name = "N",
     .help = "Most tokens of one proposal",
     .fallback = "16",
     .min = 1,
     .max = 64},
    {.name = "draft-min-prob",
     .kind = OptionKind::kNumber,
     .value_name = "P",
     .help = "Of drafts by layers or a model: a proposal ends after a token that was given less",
     .fallback = "0.4",
     .min = 0,
     .max = 1},
    {.name = "branch-prob",
     .kind = OptionKind::kNumber,
     .value_name = "P",
     .help = "Of --drafter tree,MODEL: a token beside the best one begins a branch above this probability; 1: a chain",
     .fallback = "0.3",
     .min = 0.02,
     .max = 1},
    {.name = "tree-passes",
     .kind = OptionKind::kInteger,
     .value_name = "N",
     .help = "Of --drafter tree,MODEL: passes of the second model for a proposal; 0: as long as it is sure enough",
     .fallback = "0",
     .min = 0,
     .max = 64},
    {.name = "acceptance",
     .kind = OptionKind::kChoice,
     .value_name = "RULE",
     .help =
         "With a temperature and a model that drafts: same (the tokens of the seed without it) or ratio (more stand)",
     .fallback = "same",
     .choices = kAcceptance},
    {.name = "no-jump-ahead",
     .kind = OptionKind::kFlag,
     .help = "With a grammar: a pass for each token, also for those that must follow (the text is the same)"},
};

// Sampler descriptors hold numbers; help wants text that lives as long as the program.
std::string_view lasting_number(double value) {
  static std::deque<std::string> texts;
  char buffer[32];
  return texts.emplace_back(buffer, std::to_chars(buffer, buffer + sizeof buffer, value).ptr);
}

std::vector<OptionSpec> make_generation_options() {
  std::vector<OptionSpec> options(std::begin(kAnswer), std::end(kAnswer));
  for (const SamplerDescriptor* sampler : samplers())
    for (const SamplerOption& option : sampler->options)
      options.push_back({.name = option.name,
                         .kind = option.integer ? OptionKind::kInteger : OptionKind::kNumber,
                         .value_name = option.integer ? "N" : "X",
                         .help = option.help,
                         .fallback = lasting_number(option.fallback),
                         .min = option.min,
                         .max = option.max});
  const auto constraint = constraint_option_specs();
  options.insert(options.end(), constraint.begin(), constraint.end());
  options.insert(options.end(), team_options().begin(), team_options().end());
  options.insert(options.end(), std::begin(kEngine), std::end(kEngine));
  return options;
}

}  // namespace

std::span<const OptionSpec> generation_options() {
  static const std::vector<OptionSpec> options = make_generation_options();
  return options;
}

std::span<const OptionSpec> engine_option_specs() { return kEngine; }

Result<LoadOptions> load_options(const Arguments& arguments) {
  return LoadOptions{.threads = static_cast<int>(arguments.integer("threads"))};
}

namespace {

/// The file, if it belongs to the model.
Result<std::shared_ptr<const FeedForwardSkip>> load_ffn_skip(const std::string& path, std::string_view model) {
  KINGLET_TRY(std::shared_ptr<const FeedForwardSkip> skip, FeedForwardSkip::load(path));
  KINGLET_TRY(const std::string digest, model_digest(model));
  if (!skip->model.empty() && !digest.empty() && skip->model != digest)
    return fail(ErrorCode::kUnsupported, "the file was calibrated with another model",
                "Calibrate this one: kinglet calibrate ffn-skip " + std::string(model) + " --text F -o OUT", path);
  return skip;
}

}  // namespace

nlohmann::ordered_json ffn_skip_json(const FeedForwardSkip& skip) {
  const std::int64_t ran = skip.ran, skipped = skip.skipped, all = ran + skipped;
  return {{"ran", ran},
          {"skipped", skipped},
          {"share", all > 0 ? static_cast<double>(skipped) / static_cast<double>(all) : 0.0}};
}

Result<std::string> model_digest(std::string_view name) {
  KINGLET_TRY(const std::string path, resolve_model(name));
  if (std::filesystem::is_directory(path)) return std::string();
  KINGLET_TRY(const Digest digest, sha256_file(path));
  return digest.hex();
}

Result<EngineOptions> engine_options(const Arguments& arguments) {
  EngineOptions options;
  KINGLET_TRY(options.cache, parse_cache_type(arguments.text("cache")));
  options.context = arguments.integer("context");
  options.cache_policy = arguments.text("cache-policy");
  options.lazy_prefill = arguments.text("lazy-prefill");
  options.early_exit = arguments.text("early-exit");
  if (arguments.given("ffn-skip")) {
    KINGLET_TRY(options.ffn_skip, load_ffn_skip(arguments.text("ffn-skip"), arguments.positional()[0]));
  }
  const int chunk = static_cast<int>(arguments.integer("prefill-chunk"));
  // The workspace is for the rows of a pass. Where memory is what lacks, a smaller chunk makes it smaller.
  if (chunk > options.max_rows || (chunk > 0 && arguments.given("weight-memory")))
    options.max_rows = std::max(chunk, kLeastRows);
  return options;
}

EngineOptions second_engine_options(const Engine& first) {
  return {.context = first.options().context, .max_rows = std::min(first.options().max_rows, EngineOptions{}.max_rows)};
}

Result<GenerateOptions> generate_options(const Arguments& arguments) {
  GenerateOptions options;
  options.max_tokens = arguments.integer("max-tokens");
  options.ignore_eos = arguments.flag("ignore-eos");
  options.seed = static_cast<std::uint64_t>(arguments.integer("seed"));
  options.stop = arguments.texts("stop");
  options.prefill_chunk = static_cast<int>(arguments.integer("prefill-chunk"));
  options.drafter = arguments.text("drafter");
  options.jump_ahead = !arguments.flag("no-jump-ahead");
  options.ratio_acceptance = arguments.text("acceptance") == "ratio";
  options.draft_budget = static_cast<int>(arguments.integer("draft-budget"));
  options.draft_least_probability = arguments.number("draft-min-prob");
  for (const SamplerDescriptor* sampler : samplers())
    for (const SamplerOption& option : sampler->options)
      options.sampling[std::string(option.name)] = arguments.number(option.name);
  for (const std::string& stop : options.stop)
    if (stop.empty()) return fail(ErrorCode::kInvalidArgument, "--stop expects text, found ''");
  return options;
}

namespace {

/// Large blocks go back to the system as soon as they are freed, however large those before them were.
void keep_little_free_memory() {
#ifdef __GLIBC__
  mallopt(M_MMAP_THRESHOLD, 1 << 20);
  mallopt(M_TRIM_THRESHOLD, 1 << 20);
#endif
}

}  // namespace

Result<std::unique_ptr<Checkpoint>> open_model(std::string_view name) {
  KINGLET_TRY(const std::string path, resolve_model(name));
  return open_checkpoint(path);
}

Result<std::shared_ptr<const Model>> load_model(std::string_view name, const Arguments& arguments) {
  KINGLET_TRY(const std::string path, resolve_model(name));
  KINGLET_TRY(LoadOptions options, load_options(arguments));
  // What goes with MODEL, a drafter or a reference, is small or is asked rarely.
  const bool is_main = !arguments.positional().empty() && name == arguments.positional()[0];
  if (is_main && arguments.given("weight-memory")) {
    options.weight_memory = arguments.size("weight-memory");
    keep_little_free_memory();
  }
  options.keep_coded = is_main && arguments.flag("keep-coded");
  KINGLET_TRY(auto model, Model::load(path, options));
  if (model->stream() != nullptr && arguments.flag("no-read-ahead")) model->stream()->read_ahead(false);
  return model;
}

Result<std::string> text_argument(const Arguments& arguments, std::size_t index, std::string_view what) {
  const auto& positional = arguments.positional();
  if (arguments.given("file")) {
    if (positional.size() > index)
      return fail(ErrorCode::kInvalidArgument, "both --file and " + std::string(what) + " are given",
                  "Leave one away.");
    return read_file(arguments.text("file"), kMaxText);
  }
  if (positional.size() > index)
    return positional[index] == "-" ? read_file("-", kMaxText) : Result<std::string>(positional[index]);
  if (isatty(STDIN_FILENO) == 0) return read_file("-", kMaxText);
  return fail(ErrorCode::kInvalidArgument, std::string(what) + " is missing",
              "Give it as an argument, with --file F, or on standard input.");
}

}  // namespace kinglet
