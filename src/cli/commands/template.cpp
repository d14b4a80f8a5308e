#include <nlohmann/json.hpp>

#include "base/file.h"
#include "base/json.h"
#include "base/limits.h"
#include "base/try.h"
#include "cli/generation.h"
#include "cli/output.h"
#include "kinglet/chat.h"

namespace kinglet {
namespace {

constexpr OptionSpec kOptions[] = {
    {.name = "messages",
     .letter = 'm',
     .kind = OptionKind::kFile,
     .value_name = "FILE",
     .help = "JSON list of {\"role\", \"content\", ...}; - is standard input"},
    {.name = "tools", .kind = OptionKind::kFile, .value_name = "FILE", .help = "JSON list of tools"},
    {.name = "variables",
     .kind = OptionKind::kFile,
     .value_name = "FILE",
     .help = "JSON object of further variables, such as enable_thinking"},
    {.name = "no-generation-prompt", .kind = OptionKind::kFlag, .help = "End after the last message"},
    {.name = "show", .kind = OptionKind::kFlag, .help = "Print the template itself"},
};
const std::span<const OptionSpec> kSets[] = {kOptions};

struct Source {
  std::string text;
  std::string bos, eos;
};

Result<std::string> token_text(const Metadata& metadata, std::string_view key, const std::vector<std::string>& tokens) {
  KINGLET_TRY(const std::int64_t id, metadata.integer_or(key, -1, -1, 1 << 30));
  return id >= 0 && static_cast<std::size_t>(id) < tokens.size() ? tokens[static_cast<std::size_t>(id)] : std::string();
}

Result<Source> read_source(const std::string& name) {
  Source source;
  if (name.ends_with(".jinja") || name.ends_with(".j2")) {
    KINGLET_TRY(source.text, read_file(name, limits::kTemplateBytes));
    return source;
  }
  KINGLET_TRY(const auto checkpoint, open_model(name));
  const Metadata& metadata = checkpoint->metadata();
  KINGLET_TRY(source.text, metadata.string_or("tokenizer.chat_template", ""));
  if (source.text.empty()) {
    auto none = load_chat_template(metadata);
    if (!none) return tl::unexpected<Error>(std::move(none).error());
  }
  KINGLET_TRY(const auto* tokens, metadata.strings("tokenizer.ggml.tokens"));
  if (tokens != nullptr) {
    KINGLET_TRY(source.bos, token_text(metadata, "tokenizer.ggml.bos_token_id", *tokens));
    KINGLET_TRY(source.eos, token_text(metadata, "tokenizer.ggml.eos_token_id", *tokens));
  }
  return source;
}

Result<nlohmann::ordered_json> read_json(const std::string& path) {
  KINGLET_TRY(const std::string text, read_file(path, limits::kJsonBytes));
  return parse_json(text, path);
}

Result<void> run(const Arguments& arguments) {
  KINGLET_TRY(const Source source, read_source(arguments.positional().front()));
  if (arguments.flag("show"))
    return arguments.flag("json") ? print_json({{"template", source.text}}) : print(source.text + "\n");
  if (!arguments.given("messages"))
    return fail(ErrorCode::kInvalidArgument, "--messages is missing", "Give a JSON list of messages, or --show.");
  KINGLET_TRY(const auto chat_template, ChatTemplate::parse(source.text));
  nlohmann::ordered_json variables = {{"bos_token", source.bos}, {"eos_token", source.eos}};
  KINGLET_TRY(variables["messages"], read_json(arguments.text("messages")));
  if (!variables["messages"].is_array())
    return fail(ErrorCode::kInvalidArgument, "--messages expects a JSON list", "", arguments.text("messages"));
  if (arguments.given("tools")) {
    KINGLET_TRY(variables["tools"], read_json(arguments.text("tools")));
  }
  variables["add_generation_prompt"] = !arguments.flag("no-generation-prompt");
  if (arguments.given("variables")) {
    KINGLET_TRY(const auto more, read_json(arguments.text("variables")));
    if (!more.is_object())
      return fail(ErrorCode::kInvalidArgument, "--variables expects a JSON object", "", arguments.text("variables"));
    variables.update(more);
  }
  KINGLET_TRY(const std::string text, chat_template.render(variables));
  return arguments.flag("json") ? print_json({{"text", text}}) : print(text);
}

constexpr std::string_view kExamples[] = {
    "kinglet template smollm2-135m-instruct --messages chat.json     # what the model is given for this conversation",
    "kinglet template qwen2.5-coder-0.5b-instruct --messages chat.json --tools tools.json --json",
    "kinglet template my-template.jinja --messages chat.json --variables more.json",
};

}  // namespace

extern const Command command_template = {
    .name = "template",
    .group = CommandGroup::kOther,
    .summary = "Show what a chat template makes of a conversation",
    .usage = "MODEL|FILE.jinja --messages FILE [options]",
    .description =
        "Renders the chat template that a model carries, or one in a file, for a list of messages. The text is "
        "exactly what run and chat give the model.",
    .options = kSets,
    .examples = kExamples,
    .min_positional = 1,
    .max_positional = 1,
    .run = run,
};

}  // namespace kinglet
