#include <unistd.h>

#include <csignal>

#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>

#include "base/environment.h"
#include "base/file.h"
#include "base/interrupt.h"
#include "base/json.h"
#include "base/progress.h"
#include "base/try.h"
#include "cli/constraint.h"
#include "cli/conversation.h"
#include "cli/drafter.h"
#include "cli/generation.h"
#include "cli/line_editor.h"
#include "cli/output.h"
#include "cli/team.h"

namespace kinglet {
namespace {

constexpr OptionSpec kOptions[] = {
    {.name = "system",
     .letter = 's',
     .kind = OptionKind::kText,
     .value_name = "TEXT",
     .help = "System message that the conversation begins with"},
};
constexpr std::span<const OptionSpec> kSets[] = {kOptions};

constexpr std::string_view kHelp =
    "/help          this list\n"
    "/reset         begin a new conversation\n"
    "/system TEXT   begin a new one with this system message (none without TEXT)\n"
    "/save FILE     write the conversation as JSON messages\n"
    "/quit          leave (also Ctrl-D)\n"
    "A line that ends in \\ goes on in the next; \"\"\" begins and ends a text of several lines.\n"
    "Ctrl-C stops an answer.\n";

std::string history_file() {
  const std::string state = environment("XDG_STATE_HOME");
  return (state.starts_with("/") ? state : home_folder() + "/.local/state") + "/kinglet/history";
}

class Chat {
 public:
  Chat(Conversation conversation, bool json) : conversation_(std::move(conversation)), json_(json) {}

  Result<void> run() {
    if (reader_.interactive()) reader_.load_history(history_file());
    Result<void> ended = talk();
    if (reader_.interactive()) reader_.save_history(history_file());
    return ended;
  }

 private:
  Result<void> talk() {
    for (std::string message;;) {
      const auto outcome = reader_.read_message("> ", message);
      if (outcome == LineReader::Outcome::kEnd) return {};
      if (outcome == LineReader::Outcome::kInterrupted) {
        if (!reader_.interactive() || interrupt_signal() == SIGTERM) return fail(ErrorCode::kCancelled, "interrupted");
        note("Ctrl-D or /quit leaves.");
        clear_interrupt();
        continue;
      }
      if (message.find_first_not_of(" \t\r\n") == std::string::npos) continue;
      if (message == "/quit" || message == "/exit") return {};
      if (message.starts_with("/")) {
        command(message);
      } else {
        KINGLET_CHECK(answer(message));
      }
    }
  }

  void command(const std::string& message) {
    const std::size_t space = std::min(message.find(' '), message.size());
    const std::string name = message.substr(0, space);
    const std::string rest = space < message.size() ? message.substr(space + 1) : "";
    if (name == "/help") {
      std::fputs(std::string(kHelp).c_str(), stderr);
    } else if (name == "/reset") {
      conversation_.reset();
      note("A new conversation.");
    } else if (name == "/system") {
      conversation_.set_system(rest);
      note(rest.empty() ? "A new conversation without a system message."
                        : "A new conversation with this system message.");
    } else if (name == "/save") {
      const auto saved = save(rest);
      note(saved ? "Written to " + rest + "." : "error: " + saved.error().text());
    } else {
      note("There is no command " + name + "; /help shows them.");
    }
  }

  Result<void> save(const std::string& path) const {
    if (path.empty()) return fail(ErrorCode::kInvalidArgument, "/save needs the name of a file");
    KINGLET_TRY(auto file, AtomicFile::create(expand_home(path)));
    KINGLET_CHECK(file->write(std::string_view(dump_json(conversation_.messages(), 2) + "\n")));
    return file->commit();
  }

  Result<void> answer(const std::string& message) {
    const bool terminal = isatty(STDOUT_FILENO) != 0;
    Result<void> printed;
    auto result = conversation_.ask(message, [&](std::string_view text) {
      if (!json_) printed = print_now(terminal ? escape_for_terminal(text, true) : std::string(text));
      return printed.has_value();
    });
    KINGLET_CHECK(printed);
    if (interrupt_signal() == SIGTERM || (interrupt_signal() != 0 && !reader_.interactive()))
      return fail(ErrorCode::kCancelled, "interrupted");
    clear_interrupt();
    if (!result) {
      if (!reader_.interactive()) return tl::unexpected<Error>(std::move(result).error());
      note("error: " + result.error().text());
      return {};
    }
    if (json_)
      return print_json(
          {{"text", result->text},
           {"finish_reason", result->finish_reason},
           {"usage", {{"prompt_tokens", result->prompt_tokens}, {"completion_tokens", result->token_ids.size()}}}});
    KINGLET_CHECK(print_now(terminal && result->finish_reason == "cancelled" ? " [stopped]\n" : "\n"));
    if (result->finish_reason == "length") note("The answer was cut at --max-tokens.");
    return {};
  }

  Conversation conversation_;
  LineReader reader_;
  bool json_;
};

Result<void> run(const Arguments& arguments) {
  if (arguments.flag("raw"))
    return fail(ErrorCode::kInvalidArgument, "chat needs the chat template, so that --raw makes no sense here",
                "Use `kinglet run MODEL --raw`.");
  KINGLET_TRY(GenerateOptions options, generate_options(arguments));
  KINGLET_TRY(const EngineOptions engine_settings, engine_options(arguments));
  KINGLET_TRY(const auto model, load_model(arguments.positional()[0], arguments));
  KINGLET_CHECK(check_generates(*model));
  KINGLET_TRY(const auto engine, Engine::create(model, engine_settings));
  KINGLET_CHECK(open_drafter(drafter_spec(arguments), arguments, *engine, options));
  KINGLET_TRY(Constraint constraint, Constraint::from(arguments));
  KINGLET_CHECK(constraint.bind(model->tokenizer()));
  KINGLET_TRY(Conversation conversation,
              Conversation::start(*engine, model, std::move(options), arguments.text("system")));
  if (constraint.given()) conversation.prepare = [&](GenerateRequest& request) { constraint.constrain(request); };
  KINGLET_TRY(const auto team, open_team(arguments, *engine));
  if (team)
    conversation.answer = [&](const GenerateRequest& request, const auto& messages) -> Result<Generation> {
      KINGLET_TRY(TeamAnswer answer,
                  team->answer(request, [&](const PromptMaker& maker) { return maker.from_messages(messages); }));
      note(answer.note);
      return std::move(answer.answer);
    };
  if (isatty(STDIN_FILENO) == 1) {
    end_when_unheard(false);
    note("/help shows the commands, Ctrl-C stops an answer, Ctrl-D leaves.");
  }
  return Chat(std::move(conversation), arguments.flag("json")).run();
}

constexpr std::string_view kExamples[] = {
    "kinglet chat smollm2-135m-instruct",
    "kinglet chat qwen2.5-coder-0.5b-instruct --system \"Answer in one sentence.\" --temperature 0.7",
    "printf 'Hi\\nWhat did I say?\\n' | kinglet chat smollm2-135m-instruct --json   # one answer a line of input",
};

}  // namespace

extern const Command command_chat = {
    .name = "chat",
    .group = CommandGroup::kAnswer,
    .summary = "Talk with a model",
    .usage = "MODEL [options]",
    .description =
        "A conversation in the terminal. What the model has read before is not read again. Lines typed are kept in "
        "$XDG_STATE_HOME/kinglet/history (~/.local/state). Without a terminal, each line of standard input is a "
        "message; with --json, each answer is a line of JSON.",
    .options = kSets,
    .examples = kExamples,
    .min_positional = 1,
    .max_positional = 1,
    .run = run,
    .more_options = generation_options,
};

}  // namespace kinglet
