// The best path through the trellis (Viterbi), and the search over scales around it.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "tensor/quantize/lanes.h"
#include "tensor/quantize/prepare.h"
#include "tensor/quantize/trellis.h"

namespace kinglet {

/// 32 values in coding order.
struct TrellisGroup {
  float values[kTrellisGroup], weights[kTrellisGroup];
};

template <int Bits>
class TrellisSearch {
  using T = Trellis<Bits>;

 public:
  explicit TrellisSearch(const std::int8_t* levels) : levels_(levels) {}

  /// Least weighted error that a scale allows.
  float cost(const TrellisGroup& group, std::uint8_t scale_byte) const {
    alignas(64) float scaled[kTrellisLevels], costs[T::kStates];
    begin(scale_byte, scaled, costs);
    for (int j = 0; j < kTrellisGroup; ++j) step(group.values[j], group.weights[j], scaled, costs);
    return *std::min_element(costs, costs + T::kStates);
  }

  /// The path behind it.
  void path(const TrellisGroup& group, std::uint8_t scale_byte, std::uint8_t* windows) const {
    alignas(64) float scaled[kTrellisLevels], costs[T::kStates];
    std::uint32_t choices[kTrellisGroup];
    begin(scale_byte, scaled, costs);
    for (int j = 0; j < kTrellisGroup; ++j) choices[j] = step(group.values[j], group.weights[j], scaled, costs);
    auto state = static_cast<unsigned>(std::min_element(costs, costs + T::kStates) - costs);
    for (int j = kTrellisGroup - 1; j >= 0; --j) {
      const unsigned field = 2 * state + (choices[j] >> state & 1);
      windows[j] = static_cast<std::uint8_t>(field | nearest(group.values[j], scaled, field) << (T::kMemory + 1));
      state = field & (T::kStates - 1);
    }
  }

  void scale_levels(std::uint8_t scale_byte, float* scaled) const {
    const float scale = trellis_scale(scale_byte);
    for (int w = 0; w < kTrellisLevels; ++w) scaled[w] = scale * levels_[w];
  }

  /// The x whose level is nearest to the value, for a given history and choice.
  static unsigned nearest(float value, const float* scaled, unsigned field) {
    unsigned best = 0;
    float least = INFINITY;
    for (unsigned x = 0; x < T::kChoices; ++x) {
      const float error = std::fabs(value - scaled[x * T::kFields + field]);
      if (error < least) {
        least = error;
        best = x;
      }
    }
    return best;
  }

 private:
  void begin(std::uint8_t scale_byte, float* scaled, float* costs) const {
    scale_levels(scale_byte, scaled);
    std::fill_n(costs, T::kStates, 1e30f);
    costs[0] = 0;
  }

  /// One value: costs of the histories after it from those before it. Bit s of the result: the odd field led to s.
  KINGLET_INLINE static std::uint32_t step(float value, float weight, const float* scaled, float* costs) {
    alignas(64) float errors[kTrellisLevels], fields[T::kFields];
    for (int w = 0; w < kTrellisLevels; ++w) errors[w] = std::fabs(value - scaled[w]);
    for (int half = kTrellisLevels / 2; half >= T::kFields; half /= 2)
      for (int w = 0; w < half; ++w) errors[w] = errors[w + half] < errors[w] ? errors[w + half] : errors[w];
    for (int f = 0; f < T::kFields; ++f) fields[f] = weight * (errors[f] * errors[f]) + costs[f & (T::kStates - 1)];
    std::uint32_t choices = 0;
    for (int s = 0; s < T::kStates; ++s) {
      const bool odd = fields[2 * s + 1] < fields[2 * s];
      costs[s] = odd ? fields[2 * s + 1] : fields[2 * s];
      choices |= std::uint32_t{odd} << s;
    }
    return choices;
  }

  const std::int8_t* levels_;
};

/// Whether values may be exact levels of a scale, which a search by size could miss.
class TrellisGrid {
 public:
  explicit TrellisGrid(const std::int8_t* levels) {
    for (int w = 0; w < kTrellisLevels; ++w) present_[levels[w] + 128] = true;
  }
  bool holds(const TrellisGroup& group, std::uint8_t scale_byte) const {
    const float inverse = 1 / trellis_scale(scale_byte), scale = trellis_scale(scale_byte);
    for (float value : group.values) {
      const float level = value * inverse;
      if (!(std::fabs(level) < 127.5f)) return false;
      const long whole = std::lrintf(level);
      if (static_cast<float>(whole) * scale != value || !present_[whole + 128]) return false;
    }
    return true;
  }

 private:
  bool present_[256] = {};
};

/// Encoder of the blocks of one type.
template <int Bits, int Groups>
class TrellisEncoder {
  using Layout = TrellisLayout<Bits, Groups>;
  static constexpr int kBelow = 2, kAbove = 3;  // scales tried around the one that the group's size suggests
  static constexpr int kTried = kBelow + kAbove + 1;
  static constexpr float kRootMeanSquare = 40.7f;  // of the levels, as the tables were trained

 public:
  explicit TrellisEncoder(const std::int8_t* levels) : search_(levels), grid_(levels) {}

  void encode(const float* values, const float* importance, std::uint8_t* block) {
    alignas(64) float tame[Layout::kValues], weights[Layout::kValues];
    std::fill_n(block, Layout::kBytes, std::uint8_t{0});
    if (tame_values(values, Layout::kValues, tame) < kNothing) return;
    tame_weights(importance, Layout::kValues, weights);
    for (int g = 0; g < Groups; ++g) {
      for (int j = 0; j < kTrellisGroup; ++j) {
        groups_[g].values[j] = tame[g * kTrellisGroup + trellis_column(j)];
        groups_[g].weights[j] = weights[g * kTrellisGroup + trellis_column(j)];
      }
      try_scales(g);
    }
    const int base = choose_base();
    block[0] = static_cast<std::uint8_t>(base);
    for (int g = 0; g < Groups; ++g) {
      const std::uint8_t scale = best_scale(g, base).byte;
      put_scale(block, g, base, scale);
      std::uint8_t windows[kTrellisGroup];
      search_.path(groups_[g], scale, windows);
      write_windows<Bits>(windows, block + Layout::kHeaderBytes + g * Trellis<Bits>::kCodeBytes);
    }
  }

 private:
  struct Scale {
    std::uint8_t byte = 0;
    float cost = INFINITY;
  };

  static void put_scale(std::uint8_t* block, int group, int base, std::uint8_t scale) {
    const unsigned nibble = static_cast<unsigned>((scale >> 4 & 8) | ((scale & 127) - 4 * base));
    block[1 + group / 2] = static_cast<std::uint8_t>(block[1 + group / 2] | nibble << (group % 2 * 4));
  }

  /// The code of the largest scale that is not above `wanted`.
  static int scale_code(float wanted) {
    if (!(wanted > 0)) return 4;
    int exponent;
    const float fraction = std::frexp(wanted, &exponent) * 2 - 1;
    return std::clamp(4 * (exponent - 1 + 23) + static_cast<int>(fraction * 4), 4, kTrellisMost);
  }

  Scale evaluate(int g, int code, bool negative) {
    const auto byte = static_cast<std::uint8_t>((negative ? 128 : 0) | code);
    return {byte, search_.cost(groups_[g], byte)};
  }

  void try_scales(int g) {
    float sum = 0, weight = 0;
    for (int j = 0; j < kTrellisGroup; ++j) {
      sum += groups_[g].weights[j] * groups_[g].values[j] * groups_[g].values[j];
      weight += groups_[g].weights[j];
    }
    const int middle = scale_code(weight > 0 ? std::sqrt(sum / weight) / kRootMeanSquare : 0);
    first_[g] = std::clamp(middle - kBelow, 4, kTrellisMost + 1 - kTried);
    for (int i = 0; i < kTried; ++i)
      for (bool negative : {false, true}) tried_[g][negative][i] = evaluate(g, first_[g] + i, negative);
    find_exact(g, middle);
  }

  /// What was decoded from this type is found again.
  void find_exact(int g, int middle) {
    constexpr int kReach = 10;
    exact_[g] = Scale{};
    for (int code = std::max(4, middle - kReach); code <= std::min(middle + kReach, kTrellisMost); ++code) {
      for (bool negative : {false, true}) {
        if (!grid_.holds(groups_[g], static_cast<std::uint8_t>((negative ? 128 : 0) | code))) continue;
        const Scale scale = evaluate(g, code, negative);
        if (scale.cost < exact_[g].cost) exact_[g] = scale;
      }
    }
  }

  /// The best scale with a code in [4 base, 4 base + 7].
  Scale best_scale(int g, int base) {
    Scale best;
    const auto take = [&](const Scale& scale) {
      if (scale.cost < best.cost) best = scale;
    };
    const int low = 4 * base, high = std::min(4 * base + 7, kTrellisMost);
    if ((exact_[g].byte & 127) >= low && (exact_[g].byte & 127) <= high) take(exact_[g]);
    for (int code = std::max(low, first_[g]); code <= std::min(high, first_[g] + kTried - 1); ++code)
      for (bool negative : {false, true}) take(tried_[g][negative][code - first_[g]]);
    if (best.cost < INFINITY) return best;
    for (bool negative : {false, true}) take(evaluate(g, first_[g] > high ? high : low, negative));
    if (best.cost == INFINITY) best.byte = static_cast<std::uint8_t>(low);
    return best;
  }

  int choose_base() {
    int top = 1;
    for (int g = 0; g < Groups; ++g) {
      Scale best = exact_[g];
      for (const auto& side : tried_[g])
        for (const Scale& scale : side)
          if (scale.cost < best.cost) best = scale;
      top = std::max(top, (best.byte & 127) / 4);
    }
    int chosen = std::max(1, top - 1);
    float least = INFINITY;
    for (int base = std::max(1, top - 1); base >= std::max(1, top - 3); --base) {
      float sum = 0;
      for (int g = 0; g < Groups; ++g) sum += best_scale(g, base).cost;
      if (!(sum < least)) break;
      least = sum;
      chosen = base;
    }
    return chosen;
  }

  TrellisSearch<Bits> search_;
  TrellisGrid grid_;
  TrellisGroup groups_[Groups];
  Scale tried_[Groups][2][kTried], exact_[Groups];
  int first_[Groups];
};

}  // namespace kinglet
