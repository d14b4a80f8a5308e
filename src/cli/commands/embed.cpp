#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/interrupt.h"
#include "base/progress.h"
#include "base/try.h"
#include "cli/generation.h"
#include "cli/output.h"
#include "cli/text_lines.h"
#include "measure/embedding.h"

namespace kinglet {
namespace {

constexpr OptionSpec kOptions[] = {
    {.name = "file",
     .letter = 'f',
     .kind = OptionKind::kFile,
     .value_name = "F",
     .help = "Read the text from a file; - is standard input"},
    {.name = "lines", .kind = OptionKind::kFlag, .help = "With --file: each line is a text of its own"},
    {.name = "truncate", .kind = OptionKind::kFlag, .help = "Leave away what the model cannot read of a long text"},
};
constexpr std::span<const OptionSpec> kSets[] = {kOptions};

Result<std::vector<std::string>> texts_of(const Arguments& arguments) {
  const auto& words = arguments.positional();
  if (words.size() > 1 && !arguments.given("file")) return std::vector<std::string>(words.begin() + 1, words.end());
  KINGLET_TRY(const std::string text, text_argument(arguments, 1, "a text"));
  std::vector<std::string> texts;
  if (arguments.flag("lines")) {
    for (const std::string_view line : text_lines(text)) texts.emplace_back(line);
  } else {
    texts.push_back(text);
  }
  return texts;
}

// Keeps the begin of a text and the token that closes it.
void truncate(std::vector<TokenId>& ids, std::size_t most, const Tokenizer& tokenizer) {
  if (ids.size() <= most) return;
  const TokenId last = ids.back();
  ids.resize(most);
  if (tokenizer.adds_eos) ids.back() = last;
}

Result<void> run(const Arguments& arguments) {
  KINGLET_TRY(const auto texts, texts_of(arguments));
  KINGLET_TRY(const auto model, load_model(arguments.positional()[0], arguments));
  std::vector<std::vector<TokenId>> ids;
  std::size_t longest = 1;
  for (const std::string& text : texts) {
    ids.push_back(model->tokenizer().encode(text, {.add_special = true}));
    if (arguments.flag("truncate"))
      truncate(ids.back(), static_cast<std::size_t>(model->config().context), model->tokenizer());
    longest = std::max(longest, ids.back().size());
  }
  KINGLET_TRY(EngineOptions options, engine_options(arguments));
  // An encoder looks at all of a text at once.
  if (!model->config().causal)
    options.max_rows =
        static_cast<int>(std::min<std::size_t>(longest, static_cast<std::size_t>(model->config().context)));
  KINGLET_TRY(const auto engine, Engine::create(model, options));
  ProgressBar bar(quiet());
  auto embeddings = nlohmann::ordered_json::array();
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (interrupted()) return fail(ErrorCode::kCancelled, "interrupted");
    bar.update({"embedding", i, ids.size()});
    auto vector = embed_tokens(*engine, ids[i]);
    if (!vector)
      return tl::unexpected<Error>(
          std::move(vector).error().within("text " + std::to_string(i + 1) + " of " + std::to_string(ids.size())));
    embeddings.push_back(std::move(*vector));
  }
  bar.finish();
  if (arguments.flag("json"))
    return print_json({{"embeddings", std::move(embeddings)}, {"dimensions", model->config().width}});
  for (const auto& vector : embeddings) KINGLET_CHECK(print(json_text(vector) + "\n"));
  return {};
}

constexpr std::string_view kExamples[] = {
    "kinglet embed all-minilm-l6-v2 \"A sentence\" \"Another one\" --json",
    "kinglet embed all-minilm-l6-v2 --file sentences.txt --lines > vectors.jsonl",
};

}  // namespace

extern const Command command_embed = {
    .name = "embed",
    .group = CommandGroup::kAnswer,
    .summary = "Turn texts into vectors",
    .usage = "MODEL [TEXT...] [options]",
    .description =
        "Gives one vector a text, pooled as the model says and of length 1, so that the dot product of two vectors is "
        "their cosine similarity. Without --json, one JSON list a line.",
    .options = kSets,
    .examples = kExamples,
    .min_positional = 1,
    .max_positional = -1,
    .run = run,
    .more_options = engine_option_specs,
};

}  // namespace kinglet
