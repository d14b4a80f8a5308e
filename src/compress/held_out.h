// One text in two halves that do not meet: what passes learn from, and what results are judged by.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace kinglet {

struct SplitText {
  std::string calibration, held_out;
  /// Names and held-out parts of several texts that were split one by one; none: it was one text.
  std::vector<std::pair<std::string, std::string>> parts = {};
};

/// Cuts a text into pieces of about 6 kB at ends of lines (or of words); every fifth is held out. A text too short for
/// that gives its last fifth.
SplitText split_text(std::string_view text);

/// The built-in mix, its parts in proportion to their shares.
SplitText built_in_text();

}  // namespace kinglet
