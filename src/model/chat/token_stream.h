// Reading tokens one by one; shared by the parsers of statements and expressions.
#pragma once

#include <utility>
#include <vector>

#include "model/chat/lexer.h"

namespace kinglet::chat {

class TokenStream {
 public:
  explicit TokenStream(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

  const Token& current() const { return tokens_[at_]; }
  const Token& look() const { return tokens_[at_ + 1 < tokens_.size() ? at_ + 1 : at_]; }
  const Token& next() { return at_ + 1 < tokens_.size() ? tokens_[at_++] : tokens_[at_]; }

  bool is(TokenKind kind) const { return current().kind == kind; }
  bool is_operator(std::string_view text) const { return is(TokenKind::kOperator) && current().text == text; }
  bool is_name(std::string_view text) const { return is(TokenKind::kName) && current().text == text; }
  bool skip_operator(std::string_view text) { return is_operator(text) && (next(), true); }
  bool skip_name(std::string_view text) { return is_name(text) && (next(), true); }

  void expect_operator(std::string_view text) {
    if (!skip_operator(text)) unexpected("'" + std::string(text) + "'");
  }
  void expect_name(std::string_view text) {
    if (!skip_name(text)) unexpected("'" + std::string(text) + "'");
  }
  std::string expect_any_name() {
    if (!is(TokenKind::kName)) unexpected("a name");
    return next().text;
  }
  void expect(TokenKind kind, const char* what) {
    if (!is(kind)) unexpected(what);
    next();
  }
  [[noreturn]] void unexpected(const std::string& expected) const {
    syntax_error("expected " + expected + ", found " + describe(current()), current().at);
  }

 private:
  std::vector<Token> tokens_;
  std::size_t at_ = 0;
};

}  // namespace kinglet::chat
