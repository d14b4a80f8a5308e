// The tables of filters.
#pragma once

#include <functional>
#include <span>
#include <string_view>

#include "model/chat/interpreter.h"

namespace kinglet::chat {

struct Filter {
  std::string_view name;
  Value (*body)(Interpreter&, const Value& input, CallArguments&);
};

std::span<const Filter> text_filters();

}  // namespace kinglet::chat
