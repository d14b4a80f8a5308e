// GBNF, llama.cpp's EBNF: rules of texts, character classes, groups and repetitions.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "decode/grammar/dfa.h"

namespace kinglet::grammar {

struct GbnfRule {
  std::string name;
  AstPtr body;
};

/// All rules, in the order in which their names first stand; a kRule's `rule` is an index of them. Errors:
/// kInvalidArgument with the line, kExhausted.
Result<std::vector<GbnfRule>> parse_gbnf(std::u32string_view text, Budget& budget);

/// Drops the alternatives that no text ends, since they need their own rule again: what a mask allows can then always
/// be completed. kInvalidArgument where nothing is left of `root`.
Result<void> drop_endless(std::vector<GbnfRule>& rules, std::uint32_t root, Budget& budget);

}  // namespace kinglet::grammar
