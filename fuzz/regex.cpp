// Any text as a regular expression, then bytes to accept: compiled within the budget or refused, and a text is accepted
// token by token as it is byte by byte.
#include <cstdint>
#include <string_view>

#include "grammar_bytes.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  return kinglet::check_grammar(data, size, [](std::string_view text) { return kinglet::Grammar::from_regex(text); });
}
