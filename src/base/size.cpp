#include "base/size.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <string>
#include <utility>

namespace kinglet {

bool parse_number(std::string_view text, double& value) {
  const auto result = std::from_chars(text.data(), text.data() + text.size(), value);
  return result.ec == std::errc() && result.ptr == text.data() + text.size() && std::isfinite(value);
}

bool parse_integer(std::string_view text, std::int64_t& value) {
  const auto result = std::from_chars(text.data(), text.data() + text.size(), value);
  return result.ec == std::errc() && result.ptr == text.data() + text.size();
}

Result<std::uint64_t> parse_size(std::string_view text) {
  static constexpr std::pair<std::string_view, double> kUnits[] = {
      {"", 1},     {"B", 1},   {"kB", 1e3},  {"KB", 1e3},     {"k", 1e3},      {"MB", 1e6},     {"M", 1e6},
      {"GB", 1e9}, {"G", 1e9}, {"TB", 1e12}, {"KiB", 0x1p10}, {"MiB", 0x1p20}, {"GiB", 0x1p30}, {"TiB", 0x1p40}};
  const std::size_t digits = std::min(text.find_first_not_of("0123456789."), text.size());
  std::string_view unit = text.substr(digits);
  while (unit.starts_with(' ')) unit.remove_prefix(1);
  double value = 0;
  if (digits > 0 && parse_number(text.substr(0, digits), value))
    for (const auto& [name, factor] : kUnits)
      if (name == unit && value * factor < 0x1p63) return static_cast<std::uint64_t>(value * factor + 0.5);
  return fail(ErrorCode::kInvalidArgument, "expected a size, found '" + std::string(text) + "'",
              "A size is a number of bytes, or a number with kB, MB, GB, KiB, MiB or GiB: 60MB, 1.5GiB.");
}

}  // namespace kinglet
