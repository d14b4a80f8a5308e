// Tokens to a tree, with Jinja's precedence.
#pragma once

#include <string_view>

#include "model/chat/ast.h"

namespace kinglet::chat {

/// Throws TemplateError (kCorrupt) with the place.
Body parse_template(std::string_view source);

}  // namespace kinglet::chat
