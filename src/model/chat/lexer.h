// A template's source as tokens, with Jinja's white-space rules (trim_blocks and lstrip_blocks on).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "model/chat/ast.h"

namespace kinglet::chat {

enum class TokenKind {
  kText,
  kBlockBegin,
  kBlockEnd,
  kPrintBegin,
  kPrintEnd,
  kName,
  kString,
  kInteger,
  kFloat,
  kOperator,
  kEnd
};

struct Token {
  TokenKind kind = TokenKind::kEnd;
  std::string text;  ///< of a string: what it stands for
  Position at;
};

/// Throws TemplateError (kCorrupt) with the place.
std::vector<Token> tokenize(std::string_view source);

/// "'%}'", "end of the template": for messages.
std::string describe(const Token& token);

[[noreturn]] void syntax_error(std::string message, Position at);

}  // namespace kinglet::chat
