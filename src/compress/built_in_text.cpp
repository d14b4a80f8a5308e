#include <algorithm>

#include "compress/calibration/calibration_text.h"
#include "compress/held_out.h"

namespace kinglet {

SplitText built_in_text() {
  // As much of each part as the smallest one allows.
  double whole = 1e300;
  for (const MixPart& part : calibration_mix())
    if (part.share > 0) whole = std::min(whole, static_cast<double>(part.text.size()) / part.share);
  SplitText mix;
  for (const MixPart& part : calibration_mix()) {
    const SplitText split = split_text(part.text.substr(0, static_cast<std::size_t>(whole * part.share)));
    mix.calibration += split.calibration;
    mix.held_out += split.held_out;
    if (!split.held_out.empty()) mix.parts.emplace_back(part.name, split.held_out);
  }
  return mix;
}

}  // namespace kinglet
