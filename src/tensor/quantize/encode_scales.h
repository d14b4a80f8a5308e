// Encoder of the types without a minimum: value = scale * group_scale * level.
//
// For each group, several steps are tried and the best is refined to the least-squares step of its codes. A scale is
// then chosen for which all groups' rounded steps cost least, each group's rounded step is chosen among its neighbours
// by true error, and the scale becomes the least-squares one for all codes; this repeats while it helps.
#pragma once

#include "tensor/quantize/block_fields.h"
#include "tensor/quantize/bytes.h"
#include "tensor/quantize/exact.h"
#include "tensor/quantize/prepare.h"

namespace kinglet {

template <class Layout, class Levels>
class ScaleEncoder {
 public:
  static void encode(const float* values, std::size_t blocks, const float* importance, std::byte* out) {
    for (std::size_t block = 0; block < blocks; ++block) {
      BlockFields fields;
      const std::size_t at = block * Layout::kValues;
      ScaleEncoder().encode_block(values + at, importance == nullptr ? nullptr : importance + at, fields);
      Layout::pack(fields, octets(out) + block * Layout::kBytes);
    }
  }

 private:
  static constexpr int kN = Layout::kGroup / 16, kGroups = Layout::kValues / Layout::kGroup;
  static constexpr bool kGrouped = Layout::kScaleHigh > 1;

  struct Choice {
    float scale = 0, error = INFINITY;
    int group_scale[kGroups] = {};
  };

  void encode_block(const float* values, const float* importance, BlockFields& fields) {
    alignas(64) float tame[Layout::kValues], weights[Layout::kValues];
    const Grid& grid = grid_of<Layout>();
    if (all_finite(values, Layout::kValues) && find_exact_scales(grid, values, fields)) return;
    if (tame_values(values, Layout::kValues, tame) < kNothing) {
      std::fill_n(tame, Layout::kValues, 0.0f);
      find_exact_scales(grid, tame, fields);
      return;
    }
    tame_weights(importance, Layout::kValues, weights);
    for (int g = 0; g < kGroups; ++g) {
      load_group<kN>(tame + g * Layout::kGroup, weights + g * Layout::kGroup, groups_[g]);
      fit_group(g);
    }
    Choice best;
    try_scales(best);
    write(best, fields);
  }

  /// steps_[g] and curvature_[g]: the best step of the group alone, and how fast the error grows away from it.
  void fit_group(int g) {
    const Group<kN>& group = groups_[g];
    const float peak = -group.low > group.high ? group.low : group.high;
    float best_error = INFINITY;
    steps_[g] = curvature_[g] = 0;
    if (std::fabs(peak) < kNothing) return;
    auto attempt = [&](float step) {
      const ScaleSums sums = sum_scale<Levels, kN>(group, 1 / step);
      const float error = sums.best_error(step);
      if (!(error < best_error)) return false;
      best_error = error;
      steps_[g] = sums.best_step(step);
      curvature_[g] = sums.qq;
      return true;
    };
    for (float target : Layout::kTargets) attempt(peak / target);
    for (int i = 0; i < Layout::kRefinements && attempt(steps_[g]); ++i) {
    }
  }

  void try_scales(Choice& best) {
    if constexpr (!kGrouped) {
      improve(round_to_f16(steps_[0]), best);
      for (int i : {-1, 1}) evaluate(neighbour_of_f16(best.scale, i), best);
    } else {
      float widest = furthest_from_zero(steps_, kGroups);
      if (widest == 0) widest = kNothing;
      constexpr int kKept = Layout::kScaleTries;
      float costs[kKept], scales[kKept];
      std::fill_n(costs, kKept, INFINITY);
      for (int i = 0; i < Layout::kScaleCandidates; ++i) {
        const float down = static_cast<float>(i / 2) * Layout::kScaleSpacing;
        const float target = i % 2 != 0 ? Layout::kScaleLow + down : Layout::kScaleHigh - down;
        keep(widest / target, costs, scales, kKept);
      }
      for (int i = 0; i < kKept; ++i)
        if (costs[i] < INFINITY) improve(round_to_f16(scales[i]), best);
    }
  }

  /// Keeps the `kept` scales whose rounded steps cost least by the groups' curvature.
  void keep(float scale, float* costs, float* scales, int kept) const {
    float cost = 0;
    for (int g = 0; g < kGroups; ++g) {
      const float off = steps_[g] - scale * static_cast<float>(nearest_scale(steps_[g] / scale));
      cost += curvature_[g] * off * off;
    }
    for (int i = 0; i < kept; ++i) {
      if (cost < costs[i]) std::swap(cost, costs[i]), std::swap(scale, scales[i]);
    }
  }

  static int nearest_scale(float ideal) {
    const float low = Layout::kScaleLow, high = Layout::kScaleHigh;
    return static_cast<int>(std::lrintf(std::clamp(ideal, low, high)));
  }

  void improve(float scale, Choice& best) {
    for (int i = 0; i < Layout::kRefinements + 1; ++i) {
      const float next = round_to_f16(evaluate(scale, best));
      if (next == scale || next == 0) break;
      scale = next;
    }
  }

  /// Total error with this scale, kept in `best` if it is less; returns the least-squares scale for the codes found.
  float evaluate(float scale, Choice& best) const {
    Choice choice;
    choice.scale = scale;
    choice.error = 0;
    float product = 0, square = 0;
    for (int g = 0; g < kGroups; ++g) {
      const int middle = kGrouped ? nearest_scale(steps_[g] / scale) : 1;
      float least = INFINITY;
      ScaleSums chosen;
      for (int s = kGrouped ? middle - 1 : 1; s <= (kGrouped ? middle + 1 : 1); ++s) {
        if (s < Layout::kScaleLow || s > Layout::kScaleHigh) continue;
        ScaleSums sums;
        const float step = scale * static_cast<float>(s);
        const float error =
            step == 0 ? zero_error(groups_[g]) : (sums = sum_scale<Levels, kN>(groups_[g], 1 / step)).error(step);
        if (!(error < least)) continue;
        least = error;
        chosen = sums;
        choice.group_scale[g] = s;
      }
      const float weight = static_cast<float>(choice.group_scale[g] * choice.group_scale[g]);
      choice.error += least;
      product += weight * chosen.qr;
      square += weight * chosen.qq;
    }
    if (choice.error < best.error) best = choice;
    return square > 0 ? scale * (1 + product / square) : scale;
  }

  static float zero_error(const Group<kN>& group) {
    Lanes sum{};
    for (int i = 0; i < kN; ++i) sum += group.w[i] * group.x[i] * group.x[i];
    return sum_lanes(sum);
  }

  void write(const Choice& choice, BlockFields& fields) const {
    fields.scale = f32_to_f16(choice.scale);
    for (int g = 0; g < kGroups; ++g) {
      const float step = choice.scale * static_cast<float>(choice.group_scale[g]);
      fields.group_scale[g] = static_cast<std::int8_t>(choice.group_scale[g]);
      write_codes<Levels, kN>(groups_[g], step == 0 ? 0 : 1 / step, 0, fields.codes + g * Layout::kGroup);
    }
  }

  Group<kN> groups_[kGroups];
  float steps_[kGroups], curvature_[kGroups];
};

}  // namespace kinglet
