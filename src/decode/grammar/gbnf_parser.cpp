#include "decode/grammar/gbnf_parser.h"

#include <algorithm>
#include <map>

#include "base/try.h"
#include "decode/grammar/compile.h"

namespace kinglet::grammar {
namespace {

constexpr int kDepth = 128;

class Parser {
 public:
  Parser(std::u32string_view text, Budget& budget) : text_(text), budget_(budget) {}
  std::vector<GbnfRule> rules;

  Result<void> parse() {
    space();
    while (at_ < text_.size()) {
      const std::string name = word();
      if (name.empty()) return error("a rule's name is expected");
      if (!define()) return error("\"::=\" is expected");
      const std::uint32_t id = rule(name);
      if (rules[id].body) return error("the rule \"" + name + "\" stands twice,");
      KINGLET_TRY(rules[id].body, choice(0));
      space();
      if (at_ < text_.size() && text_[at_] == U';') ++at_, space();
    }
    for (const GbnfRule& r : rules)
      if (!r.body) return fail(ErrorCode::kInvalidArgument, "grammar: the rule \"" + r.name + "\" is not defined");
    if (rules.empty()) return fail(ErrorCode::kInvalidArgument, "grammar: there is no rule");
    return {};
  }

 private:
  tl::unexpected<Error> error(std::string_view what) const {
    const auto line =
        1 + std::count(text_.begin(), text_.begin() + static_cast<std::ptrdiff_t>(std::min(at_, text_.size())), U'\n');
    return fail(ErrorCode::kInvalidArgument, "grammar: " + std::string(what) + " in line " + std::to_string(line));
  }
  static bool is_word(char32_t c) {
    return (c >= U'a' && c <= U'z') || (c >= U'A' && c <= U'Z') || (c >= U'0' && c <= U'9') || c == U'-' || c == U'_';
  }
  void space() {
    while (at_ < text_.size()) {
      if (text_[at_] == U'#') {
        while (at_ < text_.size() && text_[at_] != U'\n') ++at_;
      } else if (text_[at_] == U' ' || text_[at_] == U'\t' || text_[at_] == U'\n' || text_[at_] == U'\r') {
        ++at_;
      } else {
        return;
      }
    }
  }
  std::string word() {
    std::string out;
    while (at_ < text_.size() && is_word(text_[at_])) out += static_cast<char>(text_[at_++]);
    space();
    return out;
  }
  bool define() {
    for (const std::u32string_view sign : {U"::=", U":=", U"="})
      if (text_.substr(at_, sign.size()) == sign) {
        at_ += sign.size();
        space();
        return true;
      }
    return false;
  }
  std::uint32_t rule(const std::string& name) {
    const auto [place, fresh] = ids_.emplace(name, static_cast<std::uint32_t>(rules.size()));
    if (fresh) rules.push_back({name, nullptr});
    return place->second;
  }

  Result<AstPtr> choice(int depth) {
    if (depth > kDepth) return fail(ErrorCode::kExhausted, "grammar: groups nested too deeply");
    std::vector<AstPtr> parts;
    while (true) {
      KINGLET_TRY(AstPtr part, sequence(depth));
      parts.push_back(std::move(part));
      if (at_ >= text_.size() || text_[at_] != U'|') break;
      ++at_;
      space();
    }
    return ast_choice(std::move(parts));
  }

  Result<AstPtr> sequence(int depth) {
    std::vector<AstPtr> parts;
    while (at_ < text_.size() && text_[at_] != U'|' && text_[at_] != U')' && text_[at_] != U';') {
      if (!budget_.spend(1) || !budget_.hold(kAstBytes)) return over_budget("a grammar");
      AstPtr part;
      if (is_word(text_[at_])) {
        const std::size_t before = at_;
        const std::string name = word();
        if (define()) {  // the next rule begins
          at_ = before;
          break;
        }
        Ast call;
        call.kind = Ast::Kind::kRule;
        call.rule = rule(name);
        part = std::make_shared<const Ast>(std::move(call));
      } else {
        KINGLET_TRY(part, atom(depth));
      }
      KINGLET_TRY(part, repeated(std::move(part)));
      parts.push_back(std::move(part));
    }
    return ast_sequence(std::move(parts));
  }

  Result<AstPtr> repeated(AstPtr part) {
    for (int times = 0; at_ < text_.size(); ++times) {
      if (times > kDepth) return over_budget("repeated repetitions");
      const char32_t c = text_[at_];
      int min = 0, max = -1;
      if (c == U'*') {
        ++at_;
      } else if (c == U'+') {
        min = 1, ++at_;
      } else if (c == U'?') {
        max = 1, ++at_;
      } else if (c == U'{') {
        ++at_;
        min = number();
        max = min;
        if (at_ < text_.size() && text_[at_] == U',') {
          ++at_;
          max = number();
          if (min < 0) min = 0;
        }
        if (min < 0 || at_ >= text_.size() || text_[at_] != U'}' || (max >= 0 && max < min))
          return error("a malformed repetition");
        if (min > 100'000 || max > 100'000) return over_budget("a repetition");
        ++at_;
      } else {
        break;
      }
      space();
      part = ast_repeat(std::move(part), min, max);
    }
    return part;
  }

  int number() {
    int value = -1;
    space();
    while (at_ < text_.size() && text_[at_] >= U'0' && text_[at_] <= U'9')
      value = std::min(1'000'000, std::max(value, 0) * 10 + static_cast<int>(text_[at_++] - U'0'));
    space();
    return value;
  }

  Result<AstPtr> atom(int depth) {
    const char32_t c = text_[at_++];
    if (c == U'(') {
      space();
      KINGLET_TRY(AstPtr inner, choice(depth + 1));
      if (at_ >= text_.size() || text_[at_] != U')') return error("a missing ')'");
      ++at_;
      space();
      return inner;
    }
    if (c == U'"' || c == U'\'') {
      std::u32string text;
      while (at_ < text_.size() && text_[at_] != c) {
        KINGLET_TRY(const char32_t code, character());
        if (!budget_.hold(kAstBytes)) return over_budget("a grammar");
        text += code;
      }
      if (at_ >= text_.size()) return error("a text without an end");
      ++at_;
      space();
      return ast_text(text);
    }
    if (c == U'.') {
      space();
      return ast_chars({{0, kLastCodePoint}});
    }
    if (c != U'[') return error("an unexpected character");
    const bool negated = at_ < text_.size() && text_[at_] == U'^';
    if (negated) ++at_;
    CharSet set;
    while (at_ < text_.size() && text_[at_] != U']') {
      KINGLET_TRY(const char32_t low, character());
      char32_t high = low;
      if (at_ + 1 < text_.size() && text_[at_] == U'-' && text_[at_ + 1] != U']') {
        ++at_;
        KINGLET_TRY(high, character());
      }
      if (high < low) return error("a range out of order");
      set.push_back({low, high});
    }
    if (at_ >= text_.size()) return error("a missing ']'");
    ++at_;
    space();
    normalise(set);
    return ast_chars(negated ? complement(set) : std::move(set));
  }

  Result<char32_t> character() {
    const char32_t c = text_[at_++];
    if (c != U'\\') return c;
    if (at_ >= text_.size()) return error("a '\\' at the end");
    const char32_t e = text_[at_++];
    switch (e) {
      case U'n':
        return U'\n';
      case U'r':
        return U'\r';
      case U't':
        return U'\t';
      case U'x':
      case U'u':
      case U'U': {
        char32_t code = 0;
        for (int i = e == U'x' ? 2 : e == U'u' ? 4 : 8; i > 0; --i, ++at_) {
          const char32_t d = at_ < text_.size() ? text_[at_] : U' ';
          const int digit = d >= U'0' && d <= U'9'   ? static_cast<int>(d - U'0')
                            : d >= U'a' && d <= U'f' ? static_cast<int>(d - U'a') + 10
                            : d >= U'A' && d <= U'F' ? static_cast<int>(d - U'A') + 10
                                                     : -1;
          if (digit < 0 || code > kLastCodePoint) return error("a malformed escape");
          code = code * 16 + static_cast<char32_t>(digit);
        }
        if (code > kLastCodePoint) return error("a code point out of range");
        return code;
      }
      default:
        if (is_word(e)) return error("an unknown escape");
        return e;
    }
  }

  std::u32string_view text_;
  Budget& budget_;
  std::size_t at_ = 0;
  std::map<std::string, std::uint32_t> ids_;
};

}  // namespace

Result<std::vector<GbnfRule>> parse_gbnf(std::u32string_view text, Budget& budget) {
  Parser parser(text, budget);
  KINGLET_CHECK(parser.parse());
  return std::move(parser.rules);
}

}  // namespace kinglet::grammar
