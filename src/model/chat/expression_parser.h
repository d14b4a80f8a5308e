// Expressions of the template language.
#pragma once

#include <string_view>

#include "model/chat/token_stream.h"

namespace kinglet::chat {

class ExpressionParser {
 public:
  explicit ExpressionParser(TokenStream& tokens) : tokens_(tokens) {}

  ExprPtr expression(bool with_conditional = true);
  /// One expression, or several with commas as a tuple. Stops before the name `end` where that is not empty.
  ExprPtr tuple(bool with_conditional = true, std::string_view end = {}, bool parenthesised = false);
  /// What an assignment may write to: names, tuples of them, attributes of a namespace where `with_namespace`.
  ExprPtr target(bool with_namespace, std::string_view end = {});
  /// "| filter | filter" over `input` (null: the text of a block, a constant placeholder is put in its place).
  ExprPtr filters(ExprPtr input, bool first_without_bar = false);
  CallSyntax call_arguments();

 private:
  class Level;
  ExprPtr disjunction();
  ExprPtr conjunction();
  ExprPtr negation();
  ExprPtr comparison();
  ExprPtr sum();
  ExprPtr concatenation();
  ExprPtr product();
  ExprPtr power();
  ExprPtr unary(bool with_filters = true);
  ExprPtr primary();
  ExprPtr postfix(ExprPtr node);
  ExprPtr postfix_and_filters(ExprPtr node);
  ExprPtr subscript(ExprPtr node);
  ExprPtr subscribed();
  ExprPtr test(ExprPtr node);
  ExprPtr dict();
  ExprPtr list();
  ExprPtr call(ExprPtr node);
  ExprPtr number(const Token& token);
  ExprPtr target_item(bool with_namespace);
  bool at_tuple_end(std::string_view end) const;

  TokenStream& tokens_;
  int level_ = 0;
};

}  // namespace kinglet::chat
