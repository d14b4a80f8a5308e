// How a CharTerminal's state is packed.
#pragma once

#include <cstdint>

#include "decode/grammar/machine.h"

namespace kinglet::grammar {

// CharTerminal's b: what has been read of a character. Kind in the low 3 bits, then 2 bits of a count, then a value,
// then the half of a surrogate pair.
enum Partial : std::uint64_t { kWhole, kUtf8, kBackslash, kHex, kPairSlash, kPairU, kPairHex };
inline std::uint64_t pack(Partial kind, std::uint64_t count, std::uint64_t value, std::uint64_t high = 0) {
  return kind | count << 3 | value << 5 | high << 32;
}
inline constexpr NodeState kBeforeQuote{~std::uint64_t{0}, ~std::uint64_t{0}};
inline constexpr NodeState kAfterQuote{~std::uint64_t{0}, ~std::uint64_t{1}};

}  // namespace kinglet::grammar
