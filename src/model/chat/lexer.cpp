#include "model/chat/lexer.h"

#include <algorithm>

#include "model/chat/unicode.h"

namespace kinglet::chat {
namespace {

std::string normalised(std::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (std::size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      out += '\n';
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
    } else {
      out += source[i];
    }
  }
  if (!out.empty() && out.back() == '\n') out.pop_back();
  return out;
}

bool name_start(unsigned char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c >= 0x80; }
bool digit(char c) { return c >= '0' && c <= '9'; }
bool name_part(unsigned char c) { return name_start(c) || digit(static_cast<char>(c)); }

class Lexer {
 public:
  explicit Lexer(std::string source) : source_(std::move(source)) {}

  std::vector<Token> run() {
    while (at_ < source_.size()) lex_text();
    tokens_.push_back({TokenKind::kEnd, "", here()});
    return std::move(tokens_);
  }

 private:
  // Lines are counted as the lexer moves on, never from the start again.
  Position here() {
    for (; counted_ < at_; ++counted_) {
      if (source_[counted_] == '\n') ++position_.line, position_.column = 0;
      if ((static_cast<unsigned char>(source_[counted_]) & 0xC0) != 0x80) ++position_.column;
      if (source_[counted_] == '\n') position_.column = 1;
    }
    return position_;
  }

  bool starts(std::string_view text, std::size_t offset) const {
    return std::string_view(source_).substr(offset).starts_with(text);
  }

  std::size_t find_tag(std::size_t from) const {
    for (std::size_t i = source_.find('{', from); i != std::string::npos && i + 1 < source_.size();
         i = source_.find('{', i + 1))
      if (source_[i + 1] == '{' || source_[i + 1] == '%' || source_[i + 1] == '#') return i;
    return std::string::npos;
  }

  void add_text(std::string_view text, Position at) {
    if (!text.empty()) tokens_.push_back({TokenKind::kText, std::string(text), at});
  }

  // The text before a tag, without what the tag strips from it.
  std::string_view stripped(std::string_view text, char sign, bool is_print) const {
    if (sign == '-') return strip(text, false, true);
    if (sign == '+' || is_print) return text;
    const std::size_t newline = text.rfind('\n');
    const std::size_t line = newline == std::string_view::npos ? 0 : newline + 1;
    if (line == 0 && !line_starting_) return text;
    return strip(text.substr(line), true, false).empty() ? text.substr(0, line) : text;
  }

  void lex_text() {
    const Position start = here();
    const std::size_t tag = find_tag(at_);
    const std::string_view all(source_);
    if (tag == std::string::npos) {
      add_text(all.substr(at_), start);
      at_ = source_.size();
      return;
    }
    const char kind = source_[tag + 1];
    char sign = tag + 2 < source_.size() ? source_[tag + 2] : '\0';
    if (sign != '-' && sign != '+') sign = '\0';
    add_text(stripped(all.substr(at_, tag - at_), sign, kind == '{'), start);
    at_ = tag;
    const Position at = here();
    at_ += sign == '\0' ? 2 : 3;
    line_starting_ = false;
    if (kind == '#') return lex_comment(at);
    if (kind == '%' && lex_raw(at)) return;
    tokens_.push_back({kind == '%' ? TokenKind::kBlockBegin : TokenKind::kPrintBegin, "", at});
    lex_code(kind == '%', at);
  }

  // Moves past "%}", "-%}" or "+%}" at at_ and what it takes with it; false where none is there.
  bool close(std::string_view end, bool trims_line) {
    const char sign = at_ < source_.size() ? source_[at_] : '\0';
    const bool signed_end = (sign == '-' || (sign == '+' && trims_line)) && starts(end, at_ + 1);
    if (!signed_end && !starts(end, at_)) return false;
    at_ += signed_end ? 3 : 2;
    if (signed_end && sign == '-') {
      const std::string_view rest = std::string_view(source_).substr(at_);
      at_ += rest.size() - strip(rest, true, false).size();
    } else if (!signed_end && trims_line && at_ < source_.size() && source_[at_] == '\n') {
      ++at_;
    }
    line_starting_ = source_[at_ - 1] == '\n';
    return true;
  }

  void lex_comment(Position at) {
    for (; at_ < source_.size(); ++at_)
      if (close("#}", true)) return;
    syntax_error("a comment is not closed (expected '#}')", at);
  }

  bool lex_raw(Position at) {
    std::size_t word = at_;
    while (word < source_.size() && is_space(static_cast<unsigned char>(source_[word]))) ++word;
    if (!starts("raw", word)) return false;
    const std::size_t before = at_;
    at_ = word + 3;
    while (at_ < source_.size() && is_space(static_cast<unsigned char>(source_[at_]))) ++at_;
    if (!close("%}", false)) return at_ = before, false;
    const std::size_t start = at_;
    const Position text_at = here();
    for (std::size_t tag = source_.find("{%", at_); tag != std::string::npos; tag = source_.find("{%", tag + 2)) {
      at_ = tag + 2;
      const char sign = at_ < source_.size() && (source_[at_] == '-' || source_[at_] == '+') ? source_[at_] : '\0';
      if (sign != '\0') ++at_;
      while (at_ < source_.size() && is_space(static_cast<unsigned char>(source_[at_]))) ++at_;
      if (!starts("endraw", at_)) continue;
      at_ += 6;
      while (at_ < source_.size() && is_space(static_cast<unsigned char>(source_[at_]))) ++at_;
      const bool starting = line_starting_;
      if (!close("%}", true)) continue;
      const bool after = line_starting_;
      line_starting_ = starting;
      add_text(stripped(std::string_view(source_).substr(start, tag - start), sign, false), text_at);
      line_starting_ = after;
      return true;
    }
    syntax_error("a raw block is not closed (expected '{% endraw %}')", at);
  }

  void lex_code(bool block, Position opened) {
    std::string open;
    while (true) {
      while (at_ < source_.size() && is_space(static_cast<unsigned char>(source_[at_]))) ++at_;
      if (at_ >= source_.size())
        syntax_error(std::string("a tag is not closed (expected '") + (block ? "%}')" : "}}')"), opened);
      const Position at = here();
      if (open.empty() && close(block ? "%}" : "}}", block)) {
        tokens_.push_back({block ? TokenKind::kBlockEnd : TokenKind::kPrintEnd, "", at});
        return;
      }
      const char c = source_[at_];
      if (digit(c)) {
        lex_number(at);
      } else if (name_start(static_cast<unsigned char>(c))) {
        const std::size_t start = at_;
        while (at_ < source_.size() && name_part(static_cast<unsigned char>(source_[at_]))) ++at_;
        tokens_.push_back({TokenKind::kName, source_.substr(start, at_ - start), at});
      } else if (c == '\'' || c == '"') {
        lex_string(at);
      } else {
        lex_operator(at, open);
      }
    }
  }

  void lex_operator(Position at, std::string& open) {
    static constexpr std::string_view kOperators[] = {"//", "**", "==", "!=", ">=", "<=", "+", "-", "/",
                                                      "*",  "%",  "~",  "[",  "]",  "(",  ")", "{", "}",
                                                      ">",  "<",  "=",  ".",  ":",  "|",  ",", ";"};
    for (const std::string_view text : kOperators) {
      if (!starts(text, at_)) continue;
      if (text == "(" || text == "[" || text == "{") open += text == "(" ? ')' : text == "[" ? ']' : '}';
      if (text == ")" || text == "]" || text == "}") {
        if (open.empty()) syntax_error("unexpected '" + std::string(text) + "'", at);
        if (open.back() != text[0])
          syntax_error("unexpected '" + std::string(text) + "', expected '" + open.back() + "'", at);
        open.pop_back();
      }
      tokens_.push_back({TokenKind::kOperator, std::string(text), at});
      at_ += text.size();
      return;
    }
    syntax_error("unexpected character '" + std::string(1, source_[at_]) + "'", at);
  }

  std::string digits(bool (*accepted)(char)) {
    std::string out;
    while (at_ < source_.size() && (accepted(source_[at_]) || (source_[at_] == '_' && !out.empty() &&
                                                               at_ + 1 < source_.size() && accepted(source_[at_ + 1]))))
      if (source_[at_++] != '_') out += source_[at_ - 1];
    return out;
  }

  void lex_number(Position at) {
    const char second = at_ + 1 < source_.size() ? static_cast<char>(source_[at_ + 1] | 0x20) : '\0';
    if (source_[at_] == '0' && (second == 'x' || second == 'o' || second == 'b')) {
      at_ += 2;
      const auto hex = [](char c) { return digit(c) || ((c | 0x20) >= 'a' && (c | 0x20) <= 'f'); };
      tokens_.push_back({TokenKind::kInteger, std::string("0") + second + digits(hex), at});
      return;
    }
    std::string text = digits(digit);
    bool is_float = false;
    if (at_ + 1 < source_.size() && source_[at_] == '.' && digit(source_[at_ + 1])) {
      ++at_;
      text += "." + digits(digit);
      is_float = true;
    }
    if (at_ + 1 < source_.size() && (source_[at_] | 0x20) == 'e') {
      const bool sign = source_[at_ + 1] == '+' || source_[at_ + 1] == '-';
      if (at_ + 1 + sign < source_.size() && digit(source_[at_ + 1 + sign])) {
        text += "e";
        if (source_[at_ + 1] == '-') text += "-";
        at_ += 1 + sign;
        text += digits(digit);
        is_float = true;
      }
    }
    tokens_.push_back({is_float ? TokenKind::kFloat : TokenKind::kInteger, text, at});
  }

  void lex_string(Position at) {
    const char quote = source_[at_++];
    std::string text;
    while (at_ < source_.size() && source_[at_] != quote) {
      if (source_[at_] != '\\') {
        text += source_[at_++];
        continue;
      }
      if (++at_ < source_.size()) lex_escape(text, at);
    }
    if (at_ >= source_.size()) syntax_error("a string is not closed", at);
    ++at_;
    tokens_.push_back({TokenKind::kString, std::move(text), at});
  }

  void lex_escape(std::string& text, Position at) {
    static constexpr std::string_view kLetters = "ntr\\'\"abfv0", kMeanings = "\n\t\r\\'\"\a\b\f\v";
    const char c = source_[at_++];
    if (c == '\n') return;
    if (c >= '0' && c <= '7') {
      std::int32_t point = c - '0';
      for (int i = 0; i < 2 && at_ < source_.size() && source_[at_] >= '0' && source_[at_] <= '7'; ++i)
        point = point * 8 + (source_[at_++] - '0');
      return append_point(text, point);
    }
    if (const auto found = kLetters.find(c); found != std::string_view::npos) {
      text += kMeanings[found];
      return;
    }
    if (c != 'x' && c != 'u' && c != 'U') {
      text += '\\';
      text += c;
      return;
    }
    std::int32_t point = 0;
    for (int count = c == 'x' ? 2 : c == 'u' ? 4 : 8; count > 0; --count) {
      const char h = at_ < source_.size() ? static_cast<char>(source_[at_] | 0x20) : '\0';
      const int value = digit(h) ? h - '0' : h >= 'a' && h <= 'f' ? h - 'a' + 10 : -1;
      if (value < 0 || point > 0x10FFFF) syntax_error("a string has an incomplete or impossible escape", at);
      point = point * 16 + value;
      ++at_;
    }
    // Python joins nothing here either: a lone half of a pair cannot be written as UTF-8.
    if (point > 0x10FFFF || (point >= 0xD800 && point < 0xE000))
      syntax_error("a string escapes an impossible character", at);
    append_point(text, point);
  }

  std::string source_;
  std::size_t at_ = 0, counted_ = 0;
  Position position_;
  bool line_starting_ = true;
  std::vector<Token> tokens_;
};

}  // namespace

std::vector<Token> tokenize(std::string_view source) { return Lexer(normalised(source)).run(); }

std::string describe(const Token& token) {
  switch (token.kind) {
    case TokenKind::kText:
      return "text";
    case TokenKind::kBlockBegin:
      return "'{%'";
    case TokenKind::kBlockEnd:
      return "'%}'";
    case TokenKind::kPrintBegin:
      return "'{{'";
    case TokenKind::kPrintEnd:
      return "'}}'";
    case TokenKind::kString:
      return "a string";
    case TokenKind::kEnd:
      return "the end of the template";
    default:
      return "'" + token.text + "'";
  }
}

void syntax_error(std::string message, Position at) {
  TemplateError error(ErrorCode::kCorrupt, std::move(message));
  error.error.place = "chat template, line " + std::to_string(at.line) + ":" + std::to_string(at.column);
  throw error;
}

}  // namespace kinglet::chat
