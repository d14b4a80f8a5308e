// 16 floats at once, for any instruction set. Results do not depend on it: sums go lane by lane, then in a fixed tree.
#pragma once

#include <cstring>

namespace kinglet {

typedef float Lanes __attribute__((vector_size(64)));
typedef int LaneMask __attribute__((vector_size(64)));
#define KINGLET_INLINE inline __attribute__((always_inline))

KINGLET_INLINE void load_lanes(const float* from, Lanes& to) { std::memcpy(&to, from, sizeof to); }
KINGLET_INLINE void fill_lanes(float value, Lanes& to) { to = Lanes{} + value; }

KINGLET_INLINE float sum_lanes(const Lanes& lanes) {
  typedef float Quad __attribute__((vector_size(16)));
  Quad quads[4];
  std::memcpy(quads, &lanes, sizeof quads);
  const Quad sum = (quads[0] + quads[1]) + (quads[2] + quads[3]);
  return (sum[0] + sum[2]) + (sum[1] + sum[3]);
}

/// Nearest integer, ties to even, for |value| < 2^22.
KINGLET_INLINE void round_lanes(Lanes& value) {
  constexpr float kShift = 12582912.0f;  // 1.5 * 2^23: the sum has no fraction bits left
  value = (value + kShift) - kShift;
}

KINGLET_INLINE void clamp_lanes(Lanes& value, float low, float high) {
  const Lanes lows = Lanes{} + low, highs = Lanes{} + high;
  value = value > lows ? value : lows;
  value = value < highs ? value : highs;
}

}  // namespace kinglet
