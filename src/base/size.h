// Sizes as people write them.
#pragma once

#include <cstdint>
#include <string_view>

#include "kinglet/result.h"

namespace kinglet {

/// "60MB", "1.5GiB", "4096".
Result<std::uint64_t> parse_size(std::string_view text);

/// The whole of `text` as a number, in any locale's absence; false where it is none.
bool parse_number(std::string_view text, double& value);
bool parse_integer(std::string_view text, std::int64_t& value);

}  // namespace kinglet
