// ECMA-262 regular expressions to syntax trees. What a finite automaton cannot decide is refused by name.
#include <utf8proc.h>

#include <algorithm>

#include "base/try.h"
#include "decode/grammar/compile.h"
#include "decode/grammar/dfa.h"

namespace kinglet::grammar {
namespace {

constexpr int kDepth = 128;
constexpr int kMostRepeats = 100'000;

const CharSet kDigits{{'0', '9'}};
const CharSet kWord{{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
const CharSet kSpace{{9, 13},          {32, 32},         {0xA0, 0xA0},     {0x1680, 0x1680}, {0x2000, 0x200A},
                     {0x2028, 0x2029}, {0x202F, 0x202F}, {0x205F, 0x205F}, {0x3000, 0x3000}, {0xFEFF, 0xFEFF}};
const CharSet kLineEnds{{10, 10}, {13, 13}, {0x2028, 0x2029}};

class Parser {
 public:
  Parser(std::u32string_view text, Budget& budget) : text_(text), budget_(budget) {}

  Result<AstPtr> parse() {
    KINGLET_TRY(AstPtr ast, choice(0));
    if (at_ < text_.size()) return error("an unmatched ')'");
    return ast;
  }

 private:
  tl::unexpected<Error> error(std::string_view what, ErrorCode code = ErrorCode::kInvalidArgument) const {
    return fail(code, "regular expression: " + std::string(what) + " at character " + std::to_string(at_));
  }
  bool more() const { return at_ < text_.size(); }
  bool take(char32_t c) {
    if (!more() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  bool take(std::u32string_view s) {
    if (text_.substr(at_, s.size()) != s) return false;
    at_ += s.size();
    return true;
  }

  Result<AstPtr> choice(int depth) {
    if (depth > kDepth) return error("groups nested too deeply", ErrorCode::kExhausted);
    std::vector<AstPtr> parts;
    do {
      KINGLET_TRY(AstPtr part, sequence(depth));
      parts.push_back(std::move(part));
    } while (take(U'|'));
    return ast_choice(std::move(parts));
  }

  Result<AstPtr> sequence(int depth) {
    std::vector<AstPtr> parts;
    char32_t anchor = 0;
    while (more() && text_[at_] != U'|' && text_[at_] != U')') {
      if (!budget_.spend(1) || !budget_.hold(kAstBytes)) return over_budget("a regular expression");
      if (text_[at_] == U'^' || text_[at_] == U'$') {
        const char32_t c = text_[at_++];
        const std::uint32_t code = c == U'^' ? kTextStart : kTextEnd;
        if (anchor != c) parts.push_back(ast_chars({{code, code}}));
        anchor = c;
        if (more() && (text_[at_] == U'*' || text_[at_] == U'+' || text_[at_] == U'?' || text_[at_] == U'{'))
          return error("a repeated anchor");
        continue;
      }
      anchor = 0;
      KINGLET_TRY(AstPtr part, atom(depth));
      KINGLET_TRY(part, repeated(std::move(part)));
      parts.push_back(std::move(part));
    }
    return ast_sequence(std::move(parts));
  }

  Result<AstPtr> repeated(AstPtr part) {
    int min = 1, max = 1;
    if (take(U'*')) {
      min = 0, max = -1;
    } else if (take(U'+')) {
      max = -1;
    } else if (take(U'?')) {
      min = 0;
    } else if (more() && text_[at_] == U'{') {
      const std::size_t before = at_++;
      const int first = number();
      if (first < 0) {
        at_ = before;
        return error("a '{' that repeats nothing");
      }
      min = max = first;
      if (take(U',')) max = more() && text_[at_] != U'}' ? number() : -1;
      if (!take(U'}') || (max >= 0 && max < min)) return error("a malformed repetition");
      if (min > kMostRepeats || max > kMostRepeats) return over_budget("a repetition");
    } else {
      return part;
    }
    take(U'?');
    if (more() && (text_[at_] == U'*' || text_[at_] == U'+' || text_[at_] == U'?')) return error("nothing to repeat");
    return ast_repeat(std::move(part), min, max);
  }

  int number() {
    int value = -1;
    while (more() && text_[at_] >= U'0' && text_[at_] <= U'9')
      value = std::min(1'000'000, std::max(value, 0) * 10 + static_cast<int>(text_[at_++] - U'0'));
    return value;
  }

  Result<AstPtr> atom(int depth) {
    const char32_t c = text_[at_];
    if (c == U'(') {
      ++at_;
      if (take(U"?=") || take(U"?!") || take(U"?<=") || take(U"?<!"))
        return error("look-around is not supported,", ErrorCode::kUnsupported);
      if (take(U"?<") || take(U"?P<")) {
        while (more() && text_[at_] != U'>') ++at_;
        if (!take(U'>')) return error("a malformed group name");
      } else if (!take(U"?:") && more() && text_[at_] == U'?') {
        return error("this kind of group is not supported,", ErrorCode::kUnsupported);
      }
      KINGLET_TRY(AstPtr inner, choice(depth + 1));
      if (!take(U')')) return error("a missing ')'");
      return inner;
    }
    if (c == U'*' || c == U'+' || c == U'?') return error("nothing to repeat");
    if (c == U'[') return bracket();
    if (c == U'.') {
      ++at_;
      return ast_chars(complement(kLineEnds));
    }
    if (c == U'\\') {
      KINGLET_TRY(CharSet set, escape(false));
      return ast_chars(std::move(set));
    }
    ++at_;
    return ast_chars({{c, c}});
  }

  Result<AstPtr> bracket() {
    ++at_;
    const bool negated = take(U'^');
    CharSet set;
    while (true) {
      if (!more()) return error("a missing ']'");
      if (take(U']')) break;
      KINGLET_TRY(CharSet low, member());
      const bool single = low.size() == 1 && low[0].lo == low[0].hi;
      if (single && at_ + 1 < text_.size() && text_[at_] == U'-' && text_[at_ + 1] != U']') {
        const std::size_t before = at_++;
        KINGLET_TRY(const CharSet high, member());
        if (high.size() == 1 && high[0].lo == high[0].hi) {
          if (high[0].lo < low[0].lo) return error("a range out of order");
          low[0].hi = high[0].hi;
        } else {
          at_ = before;
        }
      }
      set.insert(set.end(), low.begin(), low.end());
      if (!budget_.spend(low.size())) return over_budget("a character class");
    }
    normalise(set);
    return ast_chars(negated ? complement(set) : std::move(set));
  }

  Result<CharSet> member() {
    if (!more()) return error("a missing ']'");
    if (text_[at_] == U'\\') return escape(true);
    const char32_t c = text_[at_++];
    return CharSet{{c, c}};
  }

  Result<std::uint32_t> hex(int digits) {
    std::uint32_t value = 0;
    for (int i = 0; i < digits; ++i) {
      if (!more()) return error("a malformed escape");
      const char32_t c = text_[at_];
      const int digit = c >= U'0' && c <= U'9'   ? static_cast<int>(c - U'0')
                        : c >= U'a' && c <= U'f' ? static_cast<int>(c - U'a') + 10
                        : c >= U'A' && c <= U'F' ? static_cast<int>(c - U'A') + 10
                                                 : -1;
      if (digit < 0) return error("a malformed escape");
      value = value * 16 + static_cast<std::uint32_t>(digit);
      ++at_;
    }
    return value;
  }

  Result<CharSet> unicode_escape() {
    std::uint32_t code = 0;
    if (take(U'{')) {
      while (more() && text_[at_] != U'}') {
        KINGLET_TRY(const std::uint32_t digit, hex(1));
        code = code * 16 + digit;
        if (code > kLastCodePoint) return error("a code point out of range");
      }
      if (!take(U'}')) return error("a malformed escape");
      return CharSet{{code, code}};
    }
    KINGLET_TRY(code, hex(4));
    if (code >= 0xD800 && code < 0xDC00 && take(U"\\u")) {
      KINGLET_TRY(const std::uint32_t low, hex(4));
      if (low < 0xDC00 || low > 0xDFFF) return error("a lone surrogate");
      code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
    }
    return CharSet{{code, code}};
  }

  Result<CharSet> escape(bool in_class) {
    ++at_;
    if (!more()) return error("a '\\' at the end");
    const char32_t c = text_[at_++];
    switch (c) {
      case U'd':
        return kDigits;
      case U'D':
        return complement(kDigits);
      case U'w':
        return kWord;
      case U'W':
        return complement(kWord);
      case U's':
        return kSpace;
      case U'S':
        return complement(kSpace);
      case U't':
        return CharSet{{9, 9}};
      case U'n':
        return CharSet{{10, 10}};
      case U'v':
        return CharSet{{11, 11}};
      case U'f':
        return CharSet{{12, 12}};
      case U'r':
        return CharSet{{13, 13}};
      case U'0':
        return CharSet{{0, 0}};
      case U'u':
        return unicode_escape();
      case U'x': {
        KINGLET_TRY(const std::uint32_t code, hex(2));
        return CharSet{{code, code}};
      }
      case U'c': {
        if (!more()) return error("a malformed escape");
        const std::uint32_t code = text_[at_++] % 32;
        return CharSet{{code, code}};
      }
      case U'p':
      case U'P': {
        KINGLET_TRY(const CharSet set, property());
        return c == U'P' ? complement(set) : set;
      }
      case U'b':
        if (in_class) return CharSet{{8, 8}};
        [[fallthrough]];
      case U'B':
        return error("word boundaries are not supported,", ErrorCode::kUnsupported);
      default:
        break;
    }
    if ((c >= U'1' && c <= U'9') || c == U'k')
      return error("back-references are not supported,", ErrorCode::kUnsupported);
    if ((c >= U'a' && c <= U'z') || (c >= U'A' && c <= U'Z')) return error("an unknown escape");
    return CharSet{{c, c}};
  }

  Result<CharSet> property() {
    std::string name;
    if (!take(U'{')) return error("a malformed property");
    while (more() && text_[at_] != U'}') append_utf8(name, text_[at_++]);
    if (!take(U'}')) return error("a malformed property");
    for (const std::string_view prefix : {"General_Category=", "gc="})
      if (name.starts_with(prefix)) name.erase(0, prefix.size());
    static constexpr std::pair<std::string_view, std::string_view> kLong[] = {{"Letter", "L"},
                                                                              {"digit", "Nd"},
                                                                              {"Number", "N"},
                                                                              {"Punctuation", "P"},
                                                                              {"punct", "P"},
                                                                              {"Uppercase_Letter", "Lu"},
                                                                              {"Lowercase_Letter", "Ll"},
                                                                              {"Mark", "M"},
                                                                              {"Symbol", "S"},
                                                                              {"Separator", "Z"},
                                                                              {"Decimal_Number", "Nd"},
                                                                              {"Space_Separator", "Zs"}};
    for (const auto& [whole, brief] : kLong)
      if (name == whole) name = brief;
    if (name == "Any") return CharSet{{0, kLastCodePoint}};
    if (name == "ASCII") return CharSet{{0, 127}};
    static constexpr std::string_view kCategories =
        "Cn Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Zs Zl Zp Cc Cf Cs Co ";
    if (name.empty() || name.size() > 2 || kCategories.find(name.size() == 2 ? name + " " : name) == std::string::npos)
      return error("the property '" + name + "' is not supported,", ErrorCode::kUnsupported);
    if (!budget_.spend(2'000'000)) return over_budget("Unicode properties");
    CharSet set;
    for (std::uint32_t code = 0; code <= kLastCodePoint; ++code) {
      const std::string_view category = utf8proc_category_string(static_cast<utf8proc_int32_t>(code));
      if (!category.starts_with(name)) continue;
      if (!set.empty() && set.back().hi + 1 == code)
        ++set.back().hi;
      else
        set.push_back({code, code});
    }
    return set;
  }

  std::u32string_view text_;
  Budget& budget_;
  std::size_t at_ = 0;
};

}  // namespace

std::optional<std::u32string> decode_utf8(std::string_view text) {
  std::u32string out;
  const auto* at = reinterpret_cast<const utf8proc_uint8_t*>(text.data());
  auto left = static_cast<utf8proc_ssize_t>(text.size());
  while (left > 0) {
    utf8proc_int32_t code = 0;
    const auto used = utf8proc_iterate(at, left, &code);
    if (used <= 0) return std::nullopt;
    out += static_cast<char32_t>(code);
    at += used;
    left -= used;
  }
  return out;
}

void append_utf8(std::string& out, std::uint32_t code) {
  utf8proc_uint8_t bytes[4];
  const auto size = utf8proc_encode_char(static_cast<utf8proc_int32_t>(code), bytes);
  out.append(reinterpret_cast<const char*>(bytes), static_cast<std::size_t>(size));
}

Result<AstPtr> parse_regex(std::string_view pattern, Budget& budget) {
  const auto text = decode_utf8(pattern);
  if (!text) return fail(ErrorCode::kInvalidArgument, "regular expression: not valid UTF-8");
  return Parser(*text, budget).parse();
}

}  // namespace kinglet::grammar
