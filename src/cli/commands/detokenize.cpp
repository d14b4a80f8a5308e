#include <charconv>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/try.h"
#include "cli/generation.h"
#include "cli/output.h"
#include "cli/text_lines.h"
#include "kinglet/tokenizer.h"

namespace kinglet {
namespace {

constexpr OptionSpec kOptions[] = {
    {.name = "file",
     .letter = 'f',
     .kind = OptionKind::kFile,
     .value_name = "F",
     .help = "Read the ids from a file; - is standard input"},
    {.name = "lines", .kind = OptionKind::kFlag, .help = "Each line has the ids of one text"},
    {.name = "special", .kind = OptionKind::kFlag, .help = "Show control tokens too"},
};
constexpr std::span<const OptionSpec> kSets[] = {kOptions};

// Numbers with white space or commas between; the brackets and the key of what `tokenize --json` prints may stand
// around.
Result<std::vector<TokenId>> read_ids(std::string_view text, const Tokenizer& tokenizer) {
  static constexpr std::string_view kBetween = " \t\r\n,";
  if (const std::size_t key = text.find("\"ids\""); key != std::string_view::npos) text.remove_prefix(key + 5);
  if (const std::size_t open = text.find('['); open != std::string_view::npos) {
    const std::size_t close = text.find(']', open);
    if (close == std::string_view::npos) return fail(ErrorCode::kInvalidArgument, "a list of ids is not closed");
    text = text.substr(open + 1, close - open - 1);
  }
  std::vector<TokenId> ids;
  while (true) {
    text.remove_prefix(std::min(text.find_first_not_of(kBetween), text.size()));
    if (text.empty()) return ids;
    const std::string_view word = text.substr(0, text.find_first_of(kBetween));
    TokenId id = -1;
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), id);
    if (error != std::errc() || end != word.data() + word.size() || id < 0 || id >= tokenizer.size())
      return fail(ErrorCode::kInvalidArgument,
                  "expected a token id from 0 to " + std::to_string(tokenizer.size() - 1) + ", found '" +
                      std::string(word.substr(0, 40)) + "'",
                  "Ids are numbers with spaces or commas between, or what `kinglet tokenize --json` prints.");
    ids.push_back(id);
    text.remove_prefix(word.size());
  }
}

Result<std::string> ids_text(const Arguments& arguments) {
  const auto& words = arguments.positional();
  if (words.size() <= 1 || arguments.given("file")) return text_argument(arguments, 1, "a list of token ids");
  std::string text;
  for (std::size_t i = 1; i < words.size(); ++i) text += words[i] + " ";
  return text;
}

Result<void> run(const Arguments& arguments) {
  KINGLET_TRY(const std::string text, ids_text(arguments));
  KINGLET_TRY(const auto checkpoint, open_model(arguments.positional()[0]));
  KINGLET_TRY(const auto tokenizer, load_tokenizer(checkpoint->metadata()));
  std::vector<std::string_view> parts = {text};
  if (arguments.flag("lines")) parts = text_lines(text);
  for (const std::string_view part : parts) {
    KINGLET_TRY(const auto ids, read_ids(part, *tokenizer));
    const std::string decoded = tokenizer->decode(ids, arguments.flag("special"));
    KINGLET_CHECK(print(arguments.flag("json") ? json_text({{"text", decoded}}) + "\n" : decoded + "\n"));
  }
  return {};
}

constexpr std::string_view kExamples[] = {
    "kinglet detokenize smollm2-135m-instruct 19556 28 905",
    "kinglet tokenize gemma-3-270m \"Hello\" --json | kinglet detokenize gemma-3-270m --json",
};

}  // namespace

extern const Command command_detokenize = {
    .name = "detokenize",
    .group = CommandGroup::kOther,
    .summary = "Show the text of token ids",
    .usage = "MODEL [IDS...] [options]",
    .description =
        "Joins the bytes that the tokens stand for. Control tokens give nothing unless --special. With --json, bytes "
        "that are no UTF-8 become U+FFFD.",
    .options = kSets,
    .examples = kExamples,
    .min_positional = 1,
    .max_positional = -1,
    .run = run,
};

}  // namespace kinglet
