#include "compress/calibration/calibration_text.h"

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "base/try.h"

// The files of the mix as they are, so that the library needs none at run time.
#define KINGLET_EMBED(name, file)                                                                     \
  asm(".pushsection .rodata\n"                                                                        \
      ".global kinglet_mix_" #name "\nkinglet_mix_" #name ":\n.incbin \"" KINGLET_MIX_FOLDER "/" file \
      "\"\n.global kinglet_mix_" #name "_end\nkinglet_mix_" #name "_end:\n.byte 0\n.popsection\n");   \
  extern "C" const char kinglet_mix_##name[], kinglet_mix_##name##_end[]
KINGLET_EMBED(prose, "prose.txt");
KINGLET_EMBED(languages, "languages.txt");
KINGLET_EMBED(code, "code.txt");
KINGLET_EMBED(chat, "chat.txt");

namespace kinglet {
namespace {

std::string_view between(const char* begin, const char* end) {
  return {begin,
          static_cast<std::size_t>(reinterpret_cast<std::uintptr_t>(end) - reinterpret_cast<std::uintptr_t>(begin))};
}

void add_windows(const Tokenizer& tokenizer, std::string_view text, std::size_t tokens, std::size_t window,
                 std::vector<std::vector<TokenId>>& windows) {
  const std::vector<TokenId> ids = tokenizer.encode(text);
  const std::size_t length = window - (tokenizer.adds_bos ? 1 : 0);
  const std::size_t all = (ids.size() + length - 1) / length;
  const std::size_t wanted = std::min(all, std::max<std::size_t>(1, (tokens + window / 2) / window));
  for (std::size_t i = 0; i < wanted; ++i) {
    const std::size_t begin = i * all / wanted * length, end = std::min(begin + length, ids.size());
    std::vector<TokenId> each;
    if (tokenizer.adds_bos) each.push_back(tokenizer.bos);
    each.insert(each.end(), ids.begin() + static_cast<std::ptrdiff_t>(begin),
                ids.begin() + static_cast<std::ptrdiff_t>(end));
    windows.push_back(std::move(each));
  }
}

/// Every line has to be read to spread what is taken evenly by tokens, so that long lines are as likely as short ones.
void add_lines(const Tokenizer& tokenizer, std::string_view text, std::size_t tokens, std::size_t window,
               std::vector<std::vector<TokenId>>& windows) {
  std::vector<std::vector<TokenId>> lines;
  std::size_t all = 0, seen = 0, taken = 0;
  for (const std::string_view line : lines_to_embed(text, RestOfLine::kNextLine)) {
    lines.push_back(tokenizer.encode(line, {.add_special = true}));
    if (lines.back().size() > window) lines.back().resize(window);
    all += lines.back().size();
  }
  for (std::vector<TokenId>& line : lines) {
    seen += line.size();
    // taken / seen is kept at tokens / all
    if (static_cast<double>(taken) * static_cast<double>(all) >=
        static_cast<double>(seen) * static_cast<double>(tokens))
      continue;
    taken += line.size();
    windows.push_back(std::move(line));
  }
}

}  // namespace

std::vector<std::string_view> lines_to_embed(std::string_view text, RestOfLine rest) {
  constexpr std::size_t kLeast = 20, kMost = 400;
  const auto length = [](std::string_view line) {
    if (line.size() <= kMost) return line.size();
    std::size_t cut = line.rfind(' ', kMost);
    if (cut != line.npos && cut >= kMost / 2) return cut;
    cut = kMost;  // no spaces: at a character's first byte
    while (cut > kMost - 4 && (static_cast<unsigned char>(line[cut]) & 0xC0) == 0x80) --cut;
    return cut;
  };
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    while (line.size() >= kLeast) {
      lines.push_back(line.substr(0, length(line)));
      if (rest == RestOfLine::kLeftAway) break;
      line.remove_prefix(lines.back().size());
      if (line.starts_with(' ')) line.remove_prefix(1);
    }
  }
  return lines;
}

std::span<const MixPart> calibration_mix() {
  static const MixPart kParts[] = {
      {"prose", between(kinglet_mix_prose, kinglet_mix_prose_end), 0.5},
      {"languages", between(kinglet_mix_languages, kinglet_mix_languages_end), 0.2},
      {"code", between(kinglet_mix_code, kinglet_mix_code_end), 0.15},
      {"chat", between(kinglet_mix_chat, kinglet_mix_chat_end), 0.15},
  };
  return kParts;
}

Result<std::vector<std::vector<TokenId>>> calibration_windows(const Tokenizer& tokenizer, std::string_view text,
                                                              const CalibrationOptions& options) {
  const std::size_t window = std::max<std::size_t>(options.window, 16);
  const auto add = options.lines ? add_lines : add_windows;
  std::vector<std::vector<TokenId>> windows;
  if (!text.empty()) {
    add(tokenizer, text, options.tokens, window, windows);
  } else {
    for (const MixPart& part : calibration_mix()) {
      const auto tokens = static_cast<std::size_t>(std::lround(part.share * static_cast<double>(options.tokens)));
      add(tokenizer, part.text, tokens, window, windows);
    }
  }
  std::size_t tokens = 0;
  for (const auto& each : windows) tokens += each.size();
  if (tokens < 16) {
    return fail(ErrorCode::kInvalidArgument,
                "the calibration text has " + std::to_string(tokens) + " tokens, at least 16 are needed");
  }
  return windows;
}

Result<std::size_t> calibration_window(const Checkpoint& checkpoint) {
  KINGLET_TRY(
      const std::int64_t context,
      checkpoint.metadata().integer_or(checkpoint.architecture() + ".context_length", 512, 1, std::int64_t{1} << 40));
  return static_cast<std::size_t>(std::clamp<std::int64_t>(context, 16, 512));
}

bool is_encoder(const Checkpoint& checkpoint) {
  const std::string architecture = checkpoint.architecture();
  const auto causal = checkpoint.metadata().flag_or(architecture + ".attention.causal", architecture != "bert");
  return causal && !*causal;
}

Result<CalibrationOptions> calibration_options(const Checkpoint& checkpoint, std::size_t tokens) {
  KINGLET_TRY(const std::size_t window, calibration_window(checkpoint));
  return CalibrationOptions{.tokens = tokens, .window = window, .lines = is_encoder(checkpoint)};
}

}  // namespace kinglet
