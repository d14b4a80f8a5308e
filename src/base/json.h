// The one place where JSON text becomes values. Depth, size and duplicates are checked while parsing, before a DOM
// exists that could overflow the stack when it is copied; nothing throws.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "base/limits.h"
#include "kinglet/result.h"

namespace kinglet {

struct JsonOptions {
  std::uint64_t max_bytes = limits::kJsonBytes;
  int max_depth = limits::kJsonDepth;
  bool refuse_duplicates = false;  ///< otherwise the last of equal keys wins, as in Python
};

/// Parses a whole JSON text (UTF-8). Errors: kCorrupt with "PLACE, byte OFFSET", kExhausted above max_bytes or
/// max_depth.
Result<nlohmann::ordered_json> parse_json(std::string_view text, std::string_view place,
                                          const JsonOptions& options = {});

/// The text of a value; ill-formed UTF-8 becomes U+FFFD, NaN and infinities null. indent -1: one line.
std::string dump_json(const nlohmann::ordered_json& value, int indent = -1);

}  // namespace kinglet
