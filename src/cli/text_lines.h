// Text cut into lines.
#pragma once

#include <string_view>
#include <vector>

namespace kinglet {

/// The lines between line feeds, without them. A last line feed ends a line and begins none. Nothing else (such as a
/// carriage return) is taken away.
inline std::vector<std::string_view> text_lines(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    lines.push_back(text.substr(0, end));
    if (end == std::string_view::npos) break;
    text.remove_prefix(end + 1);
  }
  return lines;
}

}  // namespace kinglet
