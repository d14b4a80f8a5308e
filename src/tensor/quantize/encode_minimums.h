// Encoder of the types with a minimum: value = scale * group_scale * code - minimum * group_minimum.
//
// As in encode_scales.h, with two numbers a group: steps and offsets are fitted together, and scale and minimum of the
// block are the least-squares pair for all codes.
#pragma once

#include "tensor/quantize/block_fields.h"
#include "tensor/quantize/bytes.h"
#include "tensor/quantize/exact.h"
#include "tensor/quantize/prepare.h"

namespace kinglet {

template <class Layout, class Levels>
class MinimumEncoder {
 public:
  static void encode(const float* values, std::size_t blocks, const float* importance, std::byte* out) {
    for (std::size_t block = 0; block < blocks; ++block) {
      BlockFields fields;
      const std::size_t at = block * Layout::kValues;
      MinimumEncoder().encode_block(values + at, importance == nullptr ? nullptr : importance + at, fields);
      Layout::pack(fields, octets(out) + block * Layout::kBytes);
    }
  }

 private:
  static constexpr int kN = Layout::kGroup / 16, kGroups = Layout::kValues / Layout::kGroup;
  static constexpr bool kGrouped = Layout::kScaleHigh > 1;

  /// The best step and offset of a group alone; q and qq (sums over its codes) say how the error grows around them.
  struct Fit {
    float step = 0, offset = 0, q = 0, qq = 0, error = INFINITY;
  };
  struct Choice {
    float scale = 0, minimum = 0, error = INFINITY;
    int group_scale[kGroups] = {}, group_minimum[kGroups] = {};
  };
  struct Normal {  // the normal equations of scale and minimum
    double uu = 0, uv = 0, vv = 0, eu = 0, ev = 0;
  };

  void encode_block(const float* values, const float* importance, BlockFields& fields) {
    alignas(64) float tame[Layout::kValues], weights[Layout::kValues];
    const Grid& grid = grid_of<Layout>();
    if (all_finite(values, Layout::kValues) && find_exact_minimums(grid, values, fields)) return;
    if (tame_values(values, Layout::kValues, tame) < kNothing) std::fill_n(tame, Layout::kValues, 0.0f);
    tame_weights(importance, Layout::kValues, weights);
    float low = tame[0];
    for (int g = 0; g < kGroups; ++g) {
      load_group<kN>(tame + g * Layout::kGroup, weights + g * Layout::kGroup, groups_[g]);
      low = std::min(low, groups_[g].low);
    }
    sign_ = low >= 0 ? -1 : 1;
    for (int g = 0; g < kGroups; ++g) fit_group(g);
    Choice best;
    try_scales(best);
    write(best, fields);
  }

  /// A block's group minimums share one sign; types with a single group are free.
  float allowed(float offset) const { return kGrouped && offset * sign_ < 0 ? 0 : offset; }

  void fit_group(int g) {
    const Group<kN>& group = groups_[g];
    Fit& best = fits_[g];
    best = Fit{};
    const float low = -allowed(-group.low), range = group.high - low;
    if (!(range >= kNothing)) {  // constant: codes 0
      best = {0, allowed(-group.low), 0, 0, 0};
      return;
    }
    for (float from : Layout::kMargins) {
      for (float to : Layout::kMargins) {
        const float step = range / (Layout::kCodeHigh - to - from);
        attempt(group, step, allowed(step * from - low), best);
      }
    }
    for (int i = 0; i < Layout::kRefinements && attempt(group, best.step, best.offset, best); ++i) {
    }
  }

  bool attempt(const Group<kN>& group, float step, float offset, Fit& best) const {
    const OffsetSums s = sum_offset<Levels, kN>(group, 1 / step, offset);
    Fit fit{step, offset, s.q, s.qq, step * step * s.rr};
    const float determinant = s.qq * group.weight - s.q * s.q;
    if (determinant > 0) {
      const float slope = (s.qr * group.weight - s.r * s.q) / determinant;
      const float shift = (s.qq * s.r - s.q * s.qr) / determinant;
      fit.offset = offset - step * shift;
      fit.step = step * (1 + slope);
      fit.error = step * step * (s.rr - slope * s.qr - shift * s.r);
      if (allowed(fit.offset) != fit.offset) {  // the best line through zero instead
        const float change = (step * s.qr - offset * s.q) / s.qq;
        fit.offset = 0;
        fit.step = step + change;
        fit.error = change * change * s.qq + step * step * s.rr + offset * offset * group.weight -
                    2 * change * step * s.qr + 2 * change * offset * s.q - 2 * step * offset * s.r;
      }
    }
    if (!(fit.error < best.error) || !(fit.step > 0)) return false;
    best = fit;
    return true;
  }

  void try_scales(Choice& best) {
    if constexpr (!kGrouped) {
      improve(fits_[0].step, fits_[0].offset, best);
      const Choice middle = best;
      for (int i = -1; i <= 1; ++i) {
        for (int j = -1; j <= 1; ++j) {
          Normal normal;
          if (i != 0 || j != 0)
            evaluate(neighbour_of_f16(middle.scale, i), neighbour_of_f16(middle.minimum, j), best, normal);
        }
      }
    } else {
      float steps[kGroups], offsets[kGroups];
      for (int g = 0; g < kGroups; ++g) steps[g] = fits_[g].step, offsets[g] = fits_[g].offset;
      const float widest = furthest_from_zero(steps, kGroups), lowest = furthest_from_zero(offsets, kGroups);
      constexpr int kKept = Layout::kScaleTries;
      float costs[kKept], scales[kKept] = {}, minimums[kKept] = {};
      std::fill_n(costs, kKept, INFINITY);
      for (int i = 0; i < Layout::kScaleCandidates; ++i) {
        for (int j = 0; j < Layout::kScaleCandidates; ++j) {
          keep(widest / (Layout::kScaleHigh + Layout::kScaleOver - static_cast<float>(i) * Layout::kScaleSpacing),
               lowest / (Layout::kMinimumHigh + Layout::kScaleOver - static_cast<float>(j) * Layout::kScaleSpacing),
               costs, scales, minimums);
        }
      }
      for (int i = 0; i < kKept; ++i)
        if (costs[i] < INFINITY) improve(scales[i], minimums[i], best);
    }
  }

  /// Keeps the pairs that cost least by the groups' quadratic error.
  void keep(float scale, float minimum, float* costs, float* scales, float* minimums) const {
    float cost = 0;
    for (int g = 0; g < kGroups; ++g) {
      const Fit& fit = fits_[g];
      const float a = scale * static_cast<float>(nearest(fit.step, scale, 0, Layout::kScaleHigh)) - fit.step;
      const float ideal = offset_for(g, fit.step + a);
      const float b = minimum * static_cast<float>(nearest(ideal, minimum, 0, Layout::kMinimumHigh)) - fit.offset;
      cost += fit.qq * a * a - 2 * fit.q * a * b + groups_[g].weight * b * b;
    }
    for (int i = 0; i < Layout::kScaleTries; ++i) {
      if (cost < costs[i]) {
        std::swap(cost, costs[i]);
        std::swap(scale, scales[i]);
        std::swap(minimum, minimums[i]);
      }
    }
  }

  static int nearest(float value, float unit, int low, int high) {
    if (unit == 0) return low;
    return static_cast<int>(std::lrintf(std::clamp(value / unit, static_cast<float>(low), static_cast<float>(high))));
  }

  /// The offset that suits another step than the group's own.
  float offset_for(int g, float step) const {
    const Fit& fit = fits_[g];
    return groups_[g].weight > 0 ? fit.offset + fit.q / groups_[g].weight * (step - fit.step) : fit.offset;
  }

  void improve(float scale, float minimum, Choice& best) {
    scale = round_to_f16(scale);
    minimum = round_to_f16(minimum);
    for (int i = 0; i < Layout::kRefinements + 1; ++i) {
      Normal n;
      evaluate(scale, minimum, best, n);
      double next_scale = scale, next_minimum = minimum;
      if (const double determinant = n.uu * n.vv - n.uv * n.uv; determinant > 1e-9 * n.uu * n.vv) {
        next_scale += (n.eu * n.vv - n.ev * n.uv) / determinant;
        next_minimum += (n.uu * n.ev - n.uv * n.eu) / determinant;
      } else if (n.uu > 0) {
        next_scale += n.eu / n.uu;
      } else if (n.vv > 0) {
        next_minimum += n.ev / n.vv;
      }
      const float rounded_scale = round_to_f16(static_cast<float>(next_scale));
      const float rounded_minimum = round_to_f16(static_cast<float>(next_minimum));
      if (rounded_scale == scale && rounded_minimum == minimum) break;
      scale = rounded_scale;
      minimum = rounded_minimum;
    }
  }

  void evaluate(float scale, float minimum, Choice& best, Normal& normal) const {
    Choice choice;
    choice.scale = scale;
    choice.minimum = minimum;
    choice.error = 0;
    for (int g = 0; g < kGroups; ++g) {
      choice.error += choose_group(g, choice);
      add_normal(g, choice, normal);
    }
    if (choice.error < best.error) best = choice;
  }

  /// Picks the group's scale and minimum around the ideal ones by true error, which it returns.
  float choose_group(int g, Choice& choice) const {
    if constexpr (!kGrouped) {
      choice.group_scale[g] = choice.group_minimum[g] = 1;
      return error_of(groups_[g], choice.scale, choice.minimum);
    }
    float least = INFINITY;
    const int middle = nearest(fits_[g].step, choice.scale, 0, Layout::kScaleHigh);
    for (int s = std::max(0, middle - 1); s <= std::min(Layout::kScaleHigh, middle + 1); ++s) {
      const float step = choice.scale * static_cast<float>(s);
      const int around = nearest(offset_for(g, step), choice.minimum, 0, Layout::kMinimumHigh);
      for (int m = std::max(0, around - 1); m <= std::min(Layout::kMinimumHigh, around + 1); ++m) {
        const float error = error_of(groups_[g], step, choice.minimum * static_cast<float>(m));
        if (!(error < least)) continue;
        least = error;
        choice.group_scale[g] = s;
        choice.group_minimum[g] = m;
      }
    }
    return least;
  }

  static float error_of(const Group<kN>& group, float step, float offset) {
    if (step != 0) return offset_error<Levels, kN>(group, step, 1 / step, offset);
    Lanes sum{};
    for (int i = 0; i < kN; ++i) sum += group.w[i] * (group.x[i] + offset) * (group.x[i] + offset);
    return sum_lanes(sum);
  }

  void add_normal(int g, const Choice& choice, Normal& normal) const {
    const double s = choice.group_scale[g], m = choice.group_minimum[g];
    const float step = choice.scale * static_cast<float>(choice.group_scale[g]);
    const float offset = choice.minimum * static_cast<float>(choice.group_minimum[g]);
    normal.vv += m * m * groups_[g].weight;
    if (step == 0) {
      Lanes sum{};
      for (int i = 0; i < kN; ++i) sum += groups_[g].w[i] * (groups_[g].x[i] + offset);
      normal.ev -= m * sum_lanes(sum);
      return;
    }
    const OffsetSums sums = sum_offset<Levels, kN>(groups_[g], 1 / step, offset);
    normal.uu += s * s * sums.qq;
    normal.uv -= s * m * sums.q;
    normal.eu += s * step * sums.qr;
    normal.ev -= m * step * sums.r;
  }

  void write(const Choice& choice, BlockFields& fields) const {
    fields.scale = f32_to_f16(choice.scale);
    fields.minimum = f32_to_f16(choice.minimum);
    for (int g = 0; g < kGroups; ++g) {
      const float step = choice.scale * static_cast<float>(choice.group_scale[g]);
      const float offset = choice.minimum * static_cast<float>(choice.group_minimum[g]);
      fields.group_scale[g] = static_cast<std::int8_t>(choice.group_scale[g]);
      fields.group_minimum[g] = static_cast<std::int8_t>(choice.group_minimum[g]);
      write_codes<Levels, kN>(groups_[g], step == 0 ? 0 : 1 / step, offset, fields.codes + g * Layout::kGroup);
    }
  }

  Group<kN> groups_[kGroups];
  Fit fits_[kGroups];
  float sign_ = 1;
};

}  // namespace kinglet
