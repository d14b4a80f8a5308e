#include <charconv>
#include <nlohmann/json.hpp>
#include <string>

#include "base/interrupt.h"
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
     .help = "Read the text from a file; - is standard input"},
    {.name = "lines", .kind = OptionKind::kFlag, .help = "Each line is a text of its own"},
    {.name = "special", .kind = OptionKind::kFlag, .help = "Read the text of special tokens as these tokens"},
    {.name = "add-bos",
     .kind = OptionKind::kFlag,
     .help = "Add the tokens that the model asks for at the begin and end"},
    {.name = "pieces",
     .kind = OptionKind::kFlag,
     .help = "Show each token's id and text on a line (with --json: \"pieces\" too)"},
};
constexpr std::span<const OptionSpec> kSets[] = {kOptions};

// Ids are written by hand: a large file has millions of them.
void append_ids(std::string& out, std::span<const TokenId> ids, char separator) {
  char digits[16];
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (i > 0) out += separator;
    out.append(digits, std::to_chars(digits, digits + sizeof digits, ids[i]).ptr);
  }
}

class Printer {
 public:
  Printer(const Arguments& arguments, const Tokenizer& tokenizer)
      : tokenizer_(tokenizer), json_(arguments.flag("json")), pieces_(arguments.flag("pieces")) {}

  Result<void> text(std::span<const TokenId> ids) {
    std::string out;
    if (json_) {
      out = "{\"ids\":[";
      append_ids(out, ids, ',');
      out += "]";
      if (pieces_) {
        auto names = nlohmann::ordered_json::array();
        for (const TokenId id : ids) names.push_back(std::string(tokenizer_.text(id)));
        out += ",\"pieces\":" + json_text(names);
      }
      out += "}";
    } else if (pieces_) {
      for (const TokenId id : ids) out += std::to_string(id) + "\t" + escape_for_terminal(tokenizer_.text(id)) + "\n";
      return print(out);
    } else {
      append_ids(out, ids, ' ');
    }
    return print(out + "\n");
  }

 private:
  const Tokenizer& tokenizer_;
  bool json_, pieces_;
};

Result<void> run(const Arguments& arguments) {
  KINGLET_TRY(const std::string text, text_argument(arguments, 1, "a text"));
  KINGLET_TRY(const auto checkpoint, open_model(arguments.positional()[0]));
  KINGLET_TRY(const auto tokenizer, load_tokenizer(checkpoint->metadata()));
  const EncodeOptions options{.parse_special = arguments.flag("special"), .add_special = arguments.flag("add-bos")};
  Printer printer(arguments, *tokenizer);
  if (!arguments.flag("lines")) return printer.text(tokenizer->encode(text, options));
  for (const std::string_view line : text_lines(text)) {
    if (interrupted()) return fail(ErrorCode::kCancelled, "interrupted");
    KINGLET_CHECK(printer.text(tokenizer->encode(line, options)));
  }
  return {};
}

constexpr std::string_view kExamples[] = {
    "kinglet tokenize smollm2-135m-instruct \"Hello, world\" --pieces",
    "kinglet tokenize gemma-3-270m --file book.txt --json",
    "kinglet tokenize qwen2.5-coder-0.5b-instruct --file lines.txt --lines --json   # one {\"ids\": ...} a line",
};

}  // namespace

extern const Command command_tokenize = {
    .name = "tokenize",
    .group = CommandGroup::kOther,
    .summary = "Show the tokens of a text",
    .usage = "MODEL [TEXT] [options]",
    .description =
        "Prints the ids of the text's own tokens: nothing is added at its begin or end, and the text of a special "
        "token is plain text, unless --add-bos and --special say otherwise. The text is an argument, a file, or "
        "standard input; all of its bytes count, a last line feed too.",
    .options = kSets,
    .examples = kExamples,
    .min_positional = 1,
    .max_positional = 2,
    .run = run,
};

}  // namespace kinglet
