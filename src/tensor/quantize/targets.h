// Steps worth trying: those that put a group's largest value on a given level, which need not be a whole code.
#pragma once

#include <array>

namespace kinglet {

/// `lows` levels from `low` (negative) towards zero and `highs` levels from `high` towards zero, `spacing` apart. The
/// largest value may go to either end, as the codes reach one further on the negative side.
template <int lows, int highs>
constexpr std::array<float, lows + highs> step_targets(float low, float high, float spacing) {
  std::array<float, lows + highs> targets{};
  for (int i = 0; i < lows; ++i) targets[i] = low + spacing * static_cast<float>(i);
  for (int i = 0; i < highs; ++i) targets[lows + i] = high - spacing * static_cast<float>(i);
  return targets;
}

}  // namespace kinglet
