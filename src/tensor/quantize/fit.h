// Least squares on one group of values: for an assumed step, the codes, the error, and the step that is best for
// those codes.
#pragma once

#include <cstdint>

#include "tensor/quantize/lanes.h"

namespace kinglet {

/// A group of 16 * N values with their weights.
template <int N>
struct Group {
  Lanes x[N], w[N];
  float weight;     ///< sum of w
  float low, high;  ///< extremes of x
};

/// Codes low..high that are their own levels.
template <int kLow, int kHigh>
struct LinearLevels {
  static constexpr float kMost = kHigh > -kLow ? kHigh : -kLow;
  KINGLET_INLINE static void nearest(Lanes& value) {
    clamp_lanes(value, kLow, kHigh);
    round_lanes(value);
  }
  static std::int8_t code(float level) { return static_cast<std::int8_t>(level); }
};

/// The 16 levels of IQ4_NL.
struct NonLinearLevels {
  static constexpr float kMost = 127;
  static constexpr float kLevels[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
  KINGLET_INLINE static void nearest(Lanes& value) {
    Lanes level;
    fill_lanes(kLevels[0], level);
    for (int k = 0; k < 15; ++k) {
      const Lanes middle = Lanes{} + (kLevels[k] + kLevels[k + 1]) / 2;
      const Lanes rise = Lanes{} + (kLevels[k + 1] - kLevels[k]);
      level += value > middle ? rise : Lanes{};
    }
    value = level;
  }
  static std::int8_t code(float level) {
    std::int8_t code = 0;
    while (code < 15 && kLevels[code] < level) ++code;
    return code;
  }
};

/// Sums over a group for values = step * (q + r), q the nearest levels: residuals rather than values keep their digits.
struct ScaleSums {
  float qq = 0, qr = 0, rr = 0;
  float error(float step) const { return step * step * rr; }
  float best_step(float step) const { return qq > 0 ? step * (1 + qr / qq) : step; }
  float best_error(float step) const { return qq > 0 ? step * step * (rr - qr * qr / qq) : step * step * rr; }
};

template <class Levels, int N>
KINGLET_INLINE ScaleSums sum_scale(const Group<N>& group, float inverse) {
  Lanes qq{}, qr{}, rr{};
  for (int i = 0; i < N; ++i) {
    const Lanes t = group.x[i] * inverse;
    Lanes q = t;
    Levels::nearest(q);
    const Lanes r = t - q, wq = group.w[i] * q;
    qq += wq * q;
    qr += wq * r;
    rr += group.w[i] * r * r;
  }
  return {sum_lanes(qq), sum_lanes(qr), sum_lanes(rr)};
}

/// Sums for values = step * (q + r) - offset.
struct OffsetSums {
  float q = 0, qq = 0, r = 0, qr = 0, rr = 0;
};

template <class Levels, int N>
KINGLET_INLINE OffsetSums sum_offset(const Group<N>& group, float inverse, float offset) {
  Lanes q1{}, qq{}, r1{}, qr{}, rr{};
  for (int i = 0; i < N; ++i) {
    const Lanes t = (group.x[i] + offset) * inverse;
    Lanes q = t;
    Levels::nearest(q);
    const Lanes r = t - q, wq = group.w[i] * q, wr = group.w[i] * r;
    q1 += wq;
    qq += wq * q;
    r1 += wr;
    qr += wq * r;
    rr += wr * r;
  }
  return {sum_lanes(q1), sum_lanes(qq), sum_lanes(r1), sum_lanes(qr), sum_lanes(rr)};
}

/// Squared error of the nearest codes for step and offset as they are.
template <class Levels, int N>
KINGLET_INLINE float offset_error(const Group<N>& group, float step, float inverse, float offset) {
  Lanes rr{};
  for (int i = 0; i < N; ++i) {
    const Lanes t = (group.x[i] + offset) * inverse;
    Lanes q = t;
    Levels::nearest(q);
    const Lanes r = t - q;
    rr += group.w[i] * r * r;
  }
  return step * step * sum_lanes(rr);
}

/// Nearest codes, written out.
template <class Levels, int N>
void write_codes(const Group<N>& group, float inverse, float offset, std::int8_t* codes) {
  for (int i = 0; i < N; ++i) {
    Lanes q = (group.x[i] + offset) * inverse;
    Levels::nearest(q);
    for (int lane = 0; lane < 16; ++lane) codes[i * 16 + lane] = Levels::code(q[lane]);
  }
}

}  // namespace kinglet
