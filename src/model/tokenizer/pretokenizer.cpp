#include "model/tokenizer/pretokenizer.h"

#include <algorithm>
#include <array>
#include <cstdint>

#include "model/tokenizer/unicode.h"

namespace kinglet {
namespace {

using unicode::kLetter;
using unicode::kNumber;
using unicode::kSpace;

struct Cursor {
  char32_t code = 0;
  std::uint32_t size = 0;  ///< 0: the end of the text
  std::uint8_t kind = 0;   ///< kLetter, kNumber, kSpace, or 0 for all other characters
  bool at_end() const { return size == 0; }
  bool is(std::uint8_t what) const { return size != 0 && kind == what; }
  bool is_newline() const { return size != 0 && (code == '\r' || code == '\n'); }
};

// Ill-formed parts are characters of no class, like U+FFFD.
class Scanner {
 public:
  explicit Scanner(std::string_view text, bool digits_are_numbers = false)
      : text_(text), numbers_(digits_are_numbers ? kNumber | unicode::kDigit : kNumber) {}

  Cursor at(std::size_t position) const {
    if (position >= text_.size()) return {};
    const auto byte = static_cast<std::uint8_t>(text_[position]);
    if (byte < 0x80) return {byte, 1, kAscii[byte]};
    const unicode::Character c = unicode::decode(text_.substr(position));
    const std::uint8_t classes = unicode::classes(c.code);
    std::uint8_t kind = classes & (kLetter | kSpace);
    if (classes & numbers_) kind = kNumber;
    return {c.code, c.size, kind};
  }
  /// The end of the run of this kind that starts at `position`, at most `most` characters.
  std::size_t run(std::size_t position, std::uint8_t kind, std::size_t most = ~std::size_t{0}) const {
    for (; most > 0; --most) {
      const Cursor c = at(position);
      if (c.at_end() || c.kind != kind) break;
      position += c.size;
    }
    return position;
  }

 private:
  static constexpr std::array<std::uint8_t, 128> kAscii = [] {
    std::array<std::uint8_t, 128> kinds{};
    for (std::size_t c = 0; c < 128; ++c) {
      if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) kinds[c] = kLetter;
      if (c >= '0' && c <= '9') kinds[c] = kNumber;
      if ((c >= 9 && c <= 13) || c == ' ') kinds[c] = kSpace;
    }
    return kinds;
  }();
  std::string_view text_;
  std::uint8_t numbers_;
};

/// Bytes of 's 't 're 've 'm 'll 'd at text[0], 0: none. `any_case` also takes U+017F, which folds to s.
std::size_t contraction(std::string_view text, bool any_case) {
  if (text.size() < 2 || text[0] != '\'') return 0;
  auto letter = [&](std::size_t k) {
    if (k >= text.size()) return '\0';
    const char c = text[k];
    return any_case && c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  };
  const char first = letter(1), second = letter(2);
  if (first == 's' || first == 't' || first == 'm' || first == 'd') return 2;
  if ((first == 'r' && second == 'e') || (first == 'v' && second == 'e') || (first == 'l' && second == 'l')) return 3;
  if (any_case && text.substr(1, 2) == "\xC5\xBF") return 3;
  return 0;
}

/// \s+(?!\S)|\s+ where `end` is the end of the white space: all of it, or all but the last character before a word.
std::size_t white_space(std::size_t end, bool before_word, std::size_t last) {
  return before_word && last > 0 ? last : end;
}

struct SpaceRun {
  std::size_t end = 0;            ///< of the run
  std::size_t last = 0;           ///< start of its last character
  std::size_t after_newline = 0;  ///< end of its last \r or \n, 0: it has none
};
SpaceRun space_run(const Scanner& scan) {
  SpaceRun run;
  for (Cursor c = scan.at(0); c.is(kSpace); c = scan.at(run.end)) {
    run.last = run.end;
    run.end += c.size;
    if (c.is_newline()) run.after_newline = run.end;
  }
  return run;
}

std::size_t gpt2_word(std::string_view text, bool digits_apart) {
  const Scanner scan(text, digits_apart);
  const Cursor c = scan.at(0);
  if (digits_apart && c.is(kNumber)) return c.size;
  if (const std::size_t size = contraction(text, false)) return size;
  if (c.code == ' ') {
    const Cursor next = scan.at(1);
    const bool cut = next.at_end() || next.kind == kSpace || (digits_apart && next.kind == kNumber);
    if (!cut) return scan.run(1, next.kind);
  }
  if (c.kind != kSpace) return scan.run(0, c.kind);
  const SpaceRun run = space_run(scan);
  const Cursor next = scan.at(run.end);
  const bool before_word = !next.at_end() && !(digits_apart && next.kind == kNumber);
  return white_space(run.end, before_word, run.last);
}

std::size_t qwen2_word(std::string_view text, std::size_t most_digits) {
  const Scanner scan(text);
  if (const std::size_t size = contraction(text, true)) return size;
  const Cursor c = scan.at(0);
  if (c.kind == kLetter) return scan.run(0, kLetter);
  if (c.kind == kNumber) return scan.run(0, kNumber, most_digits);
  const Cursor next = scan.at(c.size);
  if (!c.is_newline() && next.is(kLetter)) return scan.run(c.size, kLetter);
  if (c.kind == 0 || (c.code == ' ' && next.is(0))) {
    std::size_t end = scan.run(c.kind == 0 ? 0 : 1, 0);
    while (scan.at(end).is_newline()) ++end;
    return end;
  }
  const SpaceRun run = space_run(scan);
  if (run.after_newline > 0) return run.after_newline;
  return white_space(run.end, !scan.at(run.end).at_end(), run.last);
}

struct Named {
  std::string_view name;
  PreTokenizer kind;
};

}  // namespace

std::optional<PreTokenizer> find_pre_tokenizer(std::string_view name) {
  static constexpr Named kNames[] = {
      {"default", PreTokenizer::kGpt2},     {"gpt-2", PreTokenizer::kGpt2},
      {"gpt2", PreTokenizer::kGpt2},        {"phi-2", PreTokenizer::kGpt2},
      {"mpt", PreTokenizer::kGpt2},         {"olmo", PreTokenizer::kGpt2},
      {"jais", PreTokenizer::kGpt2},        {"roberta-bpe", PreTokenizer::kGpt2},
      {"smollm", PreTokenizer::kSmollm},    {"starcoder", PreTokenizer::kSmollm},
      {"refact", PreTokenizer::kSmollm},    {"command-r", PreTokenizer::kSmollm},
      {"codeshell", PreTokenizer::kSmollm}, {"llama3", PreTokenizer::kLlama3},
      {"llama-v3", PreTokenizer::kLlama3},  {"llama-bpe", PreTokenizer::kLlama3},
      {"falcon3", PreTokenizer::kLlama3},   {"dbrx", PreTokenizer::kLlama3},
      {"smaug-bpe", PreTokenizer::kLlama3}, {"qwen2", PreTokenizer::kQwen2},
      {"stablelm2", PreTokenizer::kQwen2},  {"deepseek-r1-qwen", PreTokenizer::kQwen2},
      {"megrez", PreTokenizer::kQwen2},
  };
  for (const Named& named : kNames)
    if (named.name == name) return named.kind;
  return std::nullopt;
}

std::optional<PreTokenizer> find_pre_tokenizer_of_expression(std::string_view expression) {
  static constexpr Named kExpressions[] = {
      {R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)", PreTokenizer::kGpt2},
      {R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
       PreTokenizer::kQwen2},
      {R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
       PreTokenizer::kLlama3},
      {R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+)",
       PreTokenizer::kLlama3},
  };
  for (const Named& named : kExpressions)
    if (named.name == expression) return named.kind;
  return std::nullopt;
}

std::size_t next_word(PreTokenizer kind, std::string_view text) {
  switch (kind) {
    case PreTokenizer::kNone:
      return text.size();
    case PreTokenizer::kMarks:
      return std::min(text.find("\xE2\x96\x81", 1), text.size());
    case PreTokenizer::kGpt2:
      return gpt2_word(text, false);
    case PreTokenizer::kSmollm:
      return gpt2_word(text, true);
    case PreTokenizer::kLlama3:
      return qwen2_word(text, 3);
    case PreTokenizer::kQwen2:
      return qwen2_word(text, 1);
  }
  return text.size();
}

}  // namespace kinglet
