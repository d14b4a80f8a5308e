#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>

#include "base/limits.h"
#include "base/try.h"
#include "cli/command.h"
#include "cli/constraint.h"
#include "cli/drafter.h"
#include "cli/generation.h"
#include "cli/output.h"
#include "cli/prompt_file.h"
#include "cli/team.h"
#include "decode/prompt.h"
#include "engine/early_exit.h"
#include "kinglet/generate.h"
#include "kinglet/measure.h"
#include "kinglet/weight_stream.h"

namespace kinglet {
namespace {

using nlohmann::ordered_json;

constexpr OptionSpec kOptions[] = {
    {.name = "file",
     .letter = 'f',
     .kind = OptionKind::kFile,
     .value_name = "F",
     .help = "Read the prompt from a file"},
    {.name = "system", .value_name = "TEXT", .help = "System message that comes before the prompt"},
    {.name = "prompts",
     .kind = OptionKind::kFile,
     .value_name = "P.jsonl",
     .help = "Answer many prompts: a file with one {\"prompt\": …} or {\"messages\": […]} a line"},
    {.name = "batch",
     .kind = OptionKind::kInteger,
     .value_name = "N",
     .help = "With --prompts: how many are answered side by side",
     .fallback = "8",
     .min = 1,
     .max = 256},
    {.name = "logprobs",
     .kind = OptionKind::kInteger,
     .value_name = "N",
     .help = "With --json: report each token's log-probability and its N best alternatives",
     .fallback = "0",
     .min = 0,
     .max = 1000},
    {.name = "logit-bias",
     .value_name = "ID=X",
     .help = "Add X to the logit of a token; -inf forbids it",
     .repeatable = true},
};

Result<std::pair<TokenId, float>> parse_bias(const std::string& text) {
  TokenId id = -1;
  double bias = 0;
  const char* end = text.data() + text.size();
  const auto first = std::from_chars(text.data(), end, id);
  if (first.ec != std::errc() || first.ptr == end || *first.ptr != '=' || id < 0)
    return fail(ErrorCode::kInvalidArgument, "--logit-bias expects ID=X, found '" + text + "'");
  const auto second = std::from_chars(first.ptr + 1, end, bias);
  if (second.ec != std::errc() || second.ptr != end || !(bias <= 1e6))
    return fail(ErrorCode::kInvalidArgument, "--logit-bias expects a number after '=', found '" + text + "'");
  return std::pair(id, static_cast<float>(bias));
}

double rate(double count, double milliseconds) { return milliseconds > 0 ? 1000 * count / milliseconds : 0; }

ordered_json logprobs_json(const Generation& result, const Tokenizer& tokenizer) {
  auto list = ordered_json::array();
  for (const TokenLogprob& token : result.logprobs) {
    auto top = ordered_json::array();
    for (const auto& [id, logprob] : token.top)
      top.push_back({{"id", id}, {"text", std::string(tokenizer.piece(id))}, {"logprob", logprob}});
    list.push_back(
        {{"id", token.id}, {"text", std::string(tokenizer.piece(token.id))}, {"logprob", token.logprob}, {"top", top}});
  }
  return list;
}

struct Session {
  std::shared_ptr<const Model> model;
  std::unique_ptr<Engine> engine;
  std::optional<PromptMaker> prompts;
  Constraint constraint;
  std::vector<std::shared_ptr<const GrammarStatistics>> statistics;  ///< one a request

  std::unique_ptr<Team> team;        ///< null: the model answers alone
  std::vector<PromptFor> questions;  ///< with --prompts: one a request
  void constrain(GenerateRequest& request) { statistics.push_back(constraint.constrain(request)); }
  GenerateOptions options;
  std::string drafter;  ///< as it was asked for
  double load_ms = 0;
};

ordered_json result_json(const TeamAnswer& team, const Session& session, std::size_t index) {
  const Generation& result = team.answer;
  ordered_json value = {
      {"text", result.text}, {"token_ids", result.token_ids}, {"finish_reason", result.finish_reason}};
  value["usage"] = {{"prompt_tokens", result.prompt_tokens}, {"completion_tokens", result.token_ids.size()}};
  value["timings"] = {{"load_ms", session.load_ms},
                      {"prefill_ms", result.prefill_ms},
                      {"decode_ms", result.decode_ms},
                      {"prefill_tokens_per_second",
                       rate(static_cast<double>(result.prompt_tokens - result.cached_tokens), result.prefill_ms)},
                      {"decode_tokens_per_second", rate(static_cast<double>(result.decode_tokens), result.decode_ms)}};
  value["memory"] = {{"peak_bytes", peak_memory()}};
  if (const WeightStream* stream = session.model->stream()) {
    value["memory"]["weight_bytes"] = stream->memory_bytes();
    value["memory"]["streamed_layers"] = stream->streamed_layers();
    value["memory"]["bytes_read"] = stream->bytes_read();
  }
  if (const ExitCounts* exits = exit_counts(*session.engine))
    value["early_exit"] = {{"drawn", exits->drawn}, {"mean_layers", exits->mean_layers()}};
  if (const auto& skip = session.engine->options().ffn_skip) value["ffn_skip"] = ffn_skip_json(*skip);
  if (session.options.drafter != "none")
    value["speculation"] = {{"drafter", session.drafter},     {"drafted", result.drafted},
                            {"accepted", result.accepted},    {"target_passes", result.target_passes},
                            {"draft_ms", result.draft_ms},    {"draft_bytes", result.draft_bytes},
                            {"pass_bytes", result.pass_bytes}};
  if (session.constraint.given()) value["grammar"] = session.constraint.report(session.statistics[index].get(), result);
  if (session.options.logprobs > 0) value["logprobs"] = logprobs_json(result, session.model->tokenizer());
  if (!team.name.empty()) value[team.name] = team.figures;
  if (result.error) value["error"] = {{"message", result.error->message}, {"hint", result.error->hint}};
  return value;
}

void note_speed(const Generation& result, const Session& session) {
  char line[256];
  std::snprintf(line, sizeof line, "%lld prompt tokens at %.0f/s, %zu tokens at %.1f/s, load %.0f ms, peak %.0f MB",
                static_cast<long long>(result.prompt_tokens),
                rate(static_cast<double>(result.prompt_tokens - result.cached_tokens), result.prefill_ms),
                result.token_ids.size(), rate(static_cast<double>(result.decode_tokens), result.decode_ms),
                session.load_ms, static_cast<double>(peak_memory()) / 1e6);
  note(line);
  if (session.options.drafter == "none" || result.drafted == 0) return;
  std::snprintf(line, sizeof line, "%s drafted %lld tokens, %lld stood; %lld passes", session.drafter.c_str(),
                static_cast<long long>(result.drafted), static_cast<long long>(result.accepted),
                static_cast<long long>(result.target_passes));
  note(line);
}

Result<Session> open_session(const Arguments& arguments) {
  Session session;
  KINGLET_TRY(session.options, generate_options(arguments));
  session.options.logprobs = static_cast<int>(arguments.integer("logprobs"));
  for (const std::string& text : arguments.texts("logit-bias")) {
    KINGLET_TRY(const auto bias, parse_bias(text));
    session.options.logit_bias.push_back(bias);
  }
  KINGLET_TRY(session.constraint, Constraint::from(arguments));
  KINGLET_TRY(const EngineOptions engine, engine_options(arguments));
  const auto start = std::chrono::steady_clock::now();
  KINGLET_TRY(session.model, load_model(arguments.positional()[0], arguments));
  KINGLET_CHECK(check_generates(*session.model));
  KINGLET_TRY(session.engine, Engine::create(session.model, engine));
  session.drafter = drafter_spec(arguments);
  KINGLET_CHECK(open_drafter(session.drafter, arguments, *session.engine, session.options));
  KINGLET_TRY(session.team, open_team(arguments, *session.engine));
  session.load_ms = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
  KINGLET_TRY(session.prompts, PromptMaker::make(session.model, arguments.flag("raw")));
  KINGLET_CHECK(session.constraint.bind(session.model->tokenizer()));
  return session;
}

Result<void> ended(const Generation& result) {
  if (result.error) return tl::unexpected<Error>(*result.error);
  if (result.finish_reason == "cancelled") return fail(ErrorCode::kCancelled, "");
  return {};
}

/// By the team, where there is one.
Result<TeamAnswer> answer_one(Session& session, GenerateRequest request, const PromptFor& prompt) {
  if (session.team) return session.team->answer(request, prompt);
  KINGLET_TRY(auto results, generate(*session.engine, {std::move(request)}));
  return TeamAnswer{.answer = std::move(results[0]), .name = {}, .figures = {}, .note = {}};
}

Result<void> run_one(const Arguments& arguments) {
  KINGLET_TRY(const std::string text, text_argument(arguments, 1, "a prompt"));
  KINGLET_TRY(Session session, open_session(arguments));
  GenerateRequest request;
  const PromptFor prompt = [&](const PromptMaker& maker) { return maker.from_text(text, arguments.text("system")); };
  KINGLET_TRY(request.prompt, prompt(*session.prompts));
  request.options = session.options;
  session.constrain(request);
  const bool json = arguments.flag("json"), terminal = isatty(STDOUT_FILENO) != 0;
  Result<void> printed;
  if (!json)
    request.on_text = [&](std::string_view piece) {
      printed = print_now(terminal ? escape_for_terminal(piece, true) : std::string(piece));
      return printed.has_value();
    };
  KINGLET_TRY(const TeamAnswer team, answer_one(session, std::move(request), prompt));
  KINGLET_CHECK(printed);
  const Generation& result = team.answer;
  if (json) {
    if (!result.error) KINGLET_CHECK(print_json(result_json(team, session, 0)));
  } else {
    if (!result.error || !result.text.empty()) KINGLET_CHECK(print_now("\n"));
    if (!result.error) note_speed(result, session);
    if (!team.note.empty()) note(team.note);
  }
  return ended(result);
}

Result<std::vector<GenerateRequest>> read_prompts(const std::string& path, Session& session, std::string_view system) {
  KINGLET_TRY(session.questions, read_prompt_file(path, system));
  std::vector<GenerateRequest> requests;
  for (const PromptFor& question : session.questions) {
    GenerateRequest request;
    request.options = session.options;
    request.options.seed += requests.size();  // each line is as if it were alone with its own seed
    KINGLET_TRY(request.prompt, question(*session.prompts));
    session.constrain(request);
    requests.push_back(std::move(request));
  }
  return requests;
}

/// Prints results in the order of the input, each as soon as all before it are there.
class OrderedPrinter {
 public:
  OrderedPrinter(const Session& session, std::size_t count, bool json)
      : session_(session), texts_(count), json_(json) {}
  void add(std::size_t index, const TeamAnswer& team) {
    const Generation& result = team.answer;
    if (json_) {
      ordered_json value = {{"index", index}};
      value.update(result_json(team, session_, index));
      texts_[index] = json_text(value) + "\n";
    } else {
      texts_[index] =
          "[" + std::to_string(index) + "] " + (result.error ? "error: " + result.error->text() : result.text) + "\n";
    }
    for (; next_ < texts_.size() && !texts_[next_].empty() && status; texts_[next_++] = " ")
      status = print_now(texts_[next_]);
  }
  Result<void> status;

 private:
  const Session& session_;
  std::vector<std::string> texts_;
  std::size_t next_ = 0;
  bool json_;
};

/// A team takes one prompt after the other.
Result<std::vector<Generation>> answer_many(Session& session, std::vector<GenerateRequest> requests, int batch,
                                            OrderedPrinter& printer) {
  const auto show = [&](std::size_t index, const Generation& result) {
    printer.add(index, {.answer = result, .name = {}, .figures = {}, .note = {}});
  };
  if (!session.team) return generate(*session.engine, std::move(requests), batch, show);
  std::vector<Generation> results;
  for (const GenerateRequest& request : requests) {
    KINGLET_TRY(TeamAnswer team, session.team->answer(request, session.questions[results.size()]));
    printer.add(results.size(), team);
    KINGLET_CHECK(printer.status);
    results.push_back(std::move(team.answer));
    if (results.back().finish_reason == "cancelled") break;
  }
  return results;
}

Result<void> run_many(const Arguments& arguments) {
  if (arguments.positional().size() > 1 || arguments.given("file"))
    return fail(ErrorCode::kInvalidArgument, "both a prompt and --prompts are given", "Leave one away.");
  KINGLET_TRY(Session session, open_session(arguments));
  KINGLET_TRY(auto requests, read_prompts(arguments.text("prompts"), session, arguments.text("system")));
  OrderedPrinter printer(session, requests.size(), arguments.flag("json"));
  const auto start = std::chrono::steady_clock::now();
  for (GenerateRequest& request : requests)
    request.on_text = [&](std::string_view) { return printer.status.has_value(); };
  KINGLET_TRY(const auto results,
              answer_many(session, std::move(requests), static_cast<int>(arguments.integer("batch")), printer));
  KINGLET_CHECK(printer.status);
  std::size_t tokens = 0;
  for (const Generation& result : results) tokens += result.token_ids.size();
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  char line[160];
  std::snprintf(line, sizeof line, "%zu answers, %zu tokens in %.1f s (%.1f/s), load %.0f ms, peak %.0f MB",
                results.size(), tokens, seconds, seconds > 0 ? static_cast<double>(tokens) / seconds : 0,
                session.load_ms, static_cast<double>(peak_memory()) / 1e6);
  note(line);
  for (const Generation& result : results) KINGLET_CHECK(ended(result));
  return {};
}

Result<void> run(const Arguments& arguments) {
  return arguments.given("prompts") ? run_many(arguments) : run_one(arguments);
}

constexpr std::span<const OptionSpec> kSets[] = {kOptions};
constexpr std::string_view kExamples[] = {
    "kinglet run smollm2-135m-instruct \"Why is the sky blue?\"",
    "git diff | kinglet run qwen2.5-coder-0.5b-instruct --system \"Write a commit message.\"  # the prompt from a pipe",
    "kinglet run gemma-3-270m \"Once upon a time\" --raw --temperature 0.8 --top-p 0.95 --seed 7",
    "kinglet run smollm2-135m-instruct --prompts questions.jsonl --batch 16 --json",
};

}  // namespace

extern const Command command_run = {
    .name = "run",
    .group = CommandGroup::kAnswer,
    .summary = "Answer a prompt",
    .usage = "MODEL [PROMPT] [options]",
    .description =
        "Answers one prompt (an argument, --file, or standard input) and streams the text to standard output, or "
        "many with --prompts. The prompt goes through the model's chat template where it has one, unless --raw. "
        "Decoding is greedy unless --temperature is given; a seed gives the same text again.",
    .options = kSets,
    .examples = kExamples,
    .min_positional = 1,
    .max_positional = 2,
    .run = run,
    .more_options = generation_options,
};

}  // namespace kinglet
