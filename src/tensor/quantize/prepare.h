// Values and weights as the searches want them: finite, and small enough to be squared.
#pragma once

#include <algorithm>
#include <cmath>

#include "tensor/half.h"
#include "tensor/quantize/fit.h"

namespace kinglet {

/// Values below half of the smallest f16 denormal cannot be told from zero by any type with an f16 scale.
inline constexpr float kNothing = 0x1p-26f;

inline bool all_finite(const float* values, int count) {
  bool finite = true;
  for (int i = 0; i < count; ++i) finite &= std::isfinite(values[i]);
  return finite;
}

/// NaN becomes 0; what no type can express (infinity too) becomes the nearest of +-1e9. Returns the largest magnitude.
inline float tame_values(const float* values, int count, float* tame) {
  constexpr float kMost = 1e9f;
  float peak = 0;
  for (int i = 0; i < count; ++i) {
    tame[i] = std::isnan(values[i]) ? 0 : std::clamp(values[i], -kMost, kMost);
    peak = std::max(peak, std::fabs(tame[i]));
  }
  return peak;
}

/// Importance scaled to at most 1; what is negative or not finite counts as 0. All ones if nothing is left.
inline void tame_weights(const float* importance, int count, float* weights) {
  float peak = 0;
  for (int i = 0; i < count; ++i) {
    const float weight = importance == nullptr ? 1 : importance[i];
    weights[i] = weight > 0 && std::isfinite(weight) ? weight : 0;
    peak = std::max(peak, weights[i]);
  }
  for (int i = 0; i < count; ++i) weights[i] = peak > 0 ? weights[i] / peak : 1;
}

template <int N>
void load_group(const float* values, const float* weights, Group<N>& group) {
  group.weight = 0;
  group.low = group.high = values[0];
  for (int i = 0; i < N; ++i) {
    load_lanes(values + 16 * i, group.x[i]);
    load_lanes(weights + 16 * i, group.w[i]);
    group.weight += sum_lanes(group.w[i]);
  }
  for (int i = 1; i < 16 * N; ++i) {
    group.low = std::min(group.low, values[i]);
    group.high = std::max(group.high, values[i]);
  }
}

/// The number furthest from zero. Magnitudes are kept apart because clang 19 -O3 miscompiles the unrolled loop
/// `if (fabs(x) > fabs(widest)) widest = x` for a constant count.
inline float furthest_from_zero(const float* numbers, int count) {
  float furthest = 0, magnitude = 0;
  for (int i = 0; i < count; ++i) {
    if (std::fabs(numbers[i]) > magnitude) magnitude = std::fabs(numbers[i]), furthest = numbers[i];
  }
  return furthest;
}

/// The f16 nearest to a scale, finite, and not zero unless the scale is.
inline float round_to_f16(float scale) {
  constexpr float kMost = 65504.0f, kLeast = 0x1p-24f;
  if (!(std::fabs(scale) < kMost)) return std::copysign(kMost, scale);
  const float rounded = f16_to_f32(f32_to_f16(scale));
  return rounded == 0 && scale != 0 ? std::copysign(kLeast, scale) : rounded;
}

/// The f16 `steps` representable numbers further from zero (negative: nearer).
inline float neighbour_of_f16(float scale, int steps) {
  const int magnitude = (f32_to_f16(scale) & 0x7FFF) + steps;
  return std::copysign(f16_to_f32(static_cast<std::uint16_t>(std::clamp(magnitude, 1, 0x7BFF))), scale);
}

}  // namespace kinglet
