#include "tensor/quantize/exact.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <numeric>
#include <set>

#include "tensor/half.h"
#include "tensor/quantize/lanes.h"

namespace kinglet {
namespace {

bool is_f16(float value) { return std::isfinite(value) && f16_to_f32(f32_to_f16(value)) == value; }

/// Calls visit(candidate) for the f16 numbers that a quotient total / product may be, until it returns true.
/// `slack` is the absolute error that `total` may carry.
template <class Visit>
bool visit_scales(const Grid& grid, float total, float slack, Visit visit) {
  for (std::size_t at = 0; at < grid.products.size(); at += 16) {
    Lanes products;
    load_lanes(&grid.products[at], products);
    const Lanes quotients = total / products;
    // Veltkamp's split: the quotient rounded to the 11 bits of an f16.
    const Lanes spread = quotients * 8193.0f;
    const Lanes rounded = spread - (spread - quotients);
    Lanes distance = quotients - rounded;
    distance = distance < 0 ? -distance : distance;
    const LaneMask close = distance * products <= Lanes{} + slack;
    long long any[8];
    std::memcpy(any, &close, sizeof any);
    if ((any[0] | any[1] | any[2] | any[3] | any[4] | any[5] | any[6] | any[7]) == 0) continue;
    for (int lane = 0; lane < 16; ++lane) {
      if (close[lane] != 0 && rounded[lane] != 0 && is_f16(rounded[lane]) && visit(rounded[lane])) return true;
    }
  }
  return false;
}

/// Codes by level; kNone where no code has that level.
constexpr int kNone = 1000;
int code_of(const Grid& grid, int level) {
  if (grid.codebook == nullptr) return level >= grid.code_low && level <= grid.code_high ? level : kNone;
  for (int code = grid.code_low; code <= grid.code_high; ++code)
    if (grid.codebook[code] == level) return code;
  return kNone;
}

/// All values of a group are zeros: the sign of a zero is that of scale * 0 * code.
void set_zero_group(const Grid& grid, const float* values, float scale, int group_scale, std::int8_t* codes) {
  const int positive = grid.codebook != nullptr ? code_of(grid, 1) : 0;
  const int negative = grid.codebook != nullptr ? positive - 1 : -1;
  const bool flipped = std::signbit(scale) != (group_scale < 0);
  for (int i = 0; i < grid.group; ++i) {
    codes[i] = static_cast<std::int8_t>(std::signbit(values[i]) != flipped ? negative : positive);
  }
}

/// values = multiples[i] * scale. Finds a group scale that divides them all into levels.
bool split_group(const Grid& grid, const float* values, const int* multiples, int divisor, bool keep_signs, float scale,
                 std::int8_t& group_scale, std::int8_t* codes) {
  for (int s = grid.scale_high; s >= grid.scale_low; --s) {
    if (s == 0 || divisor % s != 0) continue;
    const bool negative_zeros = (s < 0) != std::signbit(scale);
    bool all = true;
    for (int i = 0; i < grid.group && all; ++i) {
      const int code = code_of(grid, multiples[i] / s);
      all = code != kNone && !(keep_signs && multiples[i] == 0 && std::signbit(values[i]) != negative_zeros);
      if (all) codes[i] = static_cast<std::int8_t>(code);
    }
    if (!all) continue;
    group_scale = static_cast<std::int8_t>(s);
    return true;
  }
  return false;
}

bool fit_exact_scale(const Grid& grid, const float* values, float scale, bool keep_signs, BlockFields& fields) {
  const int limit = static_cast<int>(grid.products.front());
  int multiples[256];
  for (int group = 0; group < grid.groups(); ++group) {
    const float* x = values + group * grid.group;
    std::int8_t* codes = fields.codes + group * grid.group;
    int divisor = 0;
    for (int i = 0; i < grid.group; ++i) {
      const float multiple = x[i] / scale;
      if (!(std::fabs(multiple) <= static_cast<float>(limit))) return false;
      multiples[i] = static_cast<int>(multiple);
      if (static_cast<float>(multiples[i]) * scale != x[i]) return false;
      divisor = std::gcd(divisor, multiples[i]);
    }
    if (divisor == 0 && grid.scale_low <= 0) {
      fields.group_scale[group] = 0;
      set_zero_group(grid, x, scale, 0, codes);
    } else if (!split_group(grid, x, multiples, divisor, keep_signs, scale, fields.group_scale[group], codes)) {
      return false;
    }
  }
  fields.scale = f32_to_f16(scale);
  return true;
}

/// One group of a type with a minimum, under an assumed scale: values = base + scale * steps.
struct Steps {
  const float* values;
  float base = 0, slack = 0;
  int steps[32];
  int divisor = 0, most = 0;
};

class MinimumFinder {
 public:
  MinimumFinder(const Grid& grid, const float* values, BlockFields& fields)
      : grid_(grid), fields_(fields), steps_(static_cast<std::size_t>(grid.groups())) {
    for (int group = 0; group < grid.groups(); ++group) steps_[group].values = values + group * grid.group;
  }

  bool find() {
    float widest = 0, slack = 0;
    for (Steps& group : steps_) {
      const auto [low, high] = std::minmax_element(group.values, group.values + grid_.group);
      group.slack = std::max(std::fabs(*low), std::fabs(*high)) * 0x1p-22f;
      if (*high - *low > widest) widest = *high - *low, slack = group.slack;
    }
    if (widest == 0) return fit_minimum(0);
    return visit_scales(grid_, widest, slack, [&](float scale) { return fit_scale(scale) || fit_scale(-scale); });
  }

 private:
  bool fit_scale(float scale) {
    scale_ = scale;
    const int limit = static_cast<int>(grid_.products.front());
    for (Steps& group : steps_) {
      const auto [low, high] = std::minmax_element(group.values, group.values + grid_.group);
      group.base = scale > 0 ? *low : *high;
      group.divisor = group.most = 0;
      for (int i = 0; i < grid_.group; ++i) {
        const double rise = static_cast<double>(group.values[i]) - group.base;
        const double steps = std::nearbyint(rise / scale);
        if (!(steps <= limit) || std::fabs(steps * scale - rise) > group.slack) return false;
        group.steps[i] = static_cast<int>(steps);
        group.divisor = std::gcd(group.divisor, group.steps[i]);
        group.most = std::max(group.most, group.steps[i]);
      }
      if (!divisible(group)) return false;
    }
    for (const Steps& group : steps_)
      if (fit_minimum_of(group)) return true;
    return fit_minimum(0);
  }

  bool divisible(const Steps& group) const {
    for (int s = std::max(1, grid_.scale_low); s <= grid_.scale_high; ++s)
      if (group.divisor % s == 0 && group.most / s <= grid_.code_high) return true;
    return false;
  }

  /// Assumes that `group` has a minimum other than zero and tries what it may be.
  bool fit_minimum_of(const Steps& group) {
    for (int s = grid_.scale_high; s >= grid_.scale_low; --s) {
      if (s == 0 || group.divisor == 0 || group.divisor % s != 0) continue;
      for (int first = 0; first + group.most / s <= grid_.code_high; ++first) {
        const double whole = static_cast<double>(scale_) * s * first - group.base;
        if (std::fabs(whole) <= group.slack) continue;
        for (int m = grid_.minimum_high; m >= std::max(1, grid_.minimum_low); --m) {
          const float minimum = f16_to_f32(f32_to_f16(static_cast<float>(whole / m)));
          if (std::fabs(static_cast<double>(minimum) * m - whole) <= group.slack && fit_minimum(minimum)) return true;
        }
      }
    }
    return false;
  }

  bool fit_minimum(float minimum) {
    if (!std::isfinite(minimum) || --budget_ < 0) return false;
    for (int group = 0; group < grid_.groups(); ++group) {
      bool found = false;
      for (int m = grid_.minimum_high; m >= grid_.minimum_low && !found; --m) {
        found = fit_group(group, m, minimum * static_cast<float>(m));
      }
      if (!found) return false;
    }
    fields_.scale = f32_to_f16(scale_);
    fields_.minimum = f32_to_f16(minimum);
    return true;
  }

  bool fit_group(int index, int m, float offset) {
    const Steps& group = steps_[static_cast<std::size_t>(index)];
    int first_steps = 0;
    if (scale_ != 0) {
      const double rise = static_cast<double>(group.base) + offset;
      const double steps = std::nearbyint(rise / scale_);
      if (!(steps >= 0 && steps <= grid_.products.front())) return false;
      if (std::fabs(steps * scale_ - rise) > group.slack) return false;
      first_steps = static_cast<int>(steps);
    }
    for (int s = grid_.scale_high; s >= grid_.scale_low; --s) {
      if (s == 0 ? group.most + first_steps != 0 : group.divisor % s != 0 || first_steps % s != 0) continue;
      if (s != 0 && (first_steps + group.most) / s > grid_.code_high) continue;
      if (!decodes_to(group, s, first_steps, offset, fields_.codes + index * grid_.group)) continue;
      fields_.group_scale[index] = static_cast<std::int8_t>(s);
      fields_.group_minimum[index] = static_cast<std::int8_t>(m);
      return true;
    }
    return false;
  }

  bool decodes_to(const Steps& group, int s, int first_steps, float offset, std::int8_t* codes) const {
    const float scale = scale_ * static_cast<float>(s);
    for (int i = 0; i < grid_.group; ++i) {
      const int code = s == 0 ? 0 : (first_steps + group.steps[i]) / s;
      if (scale * static_cast<float>(code) - offset != group.values[i]) return false;
      codes[i] = static_cast<std::int8_t>(code);
    }
    return true;
  }

  const Grid& grid_;
  BlockFields& fields_;
  std::vector<Steps> steps_;
  float scale_ = 0;
  int budget_ = 500;  // values that are simple but off the grid may have many near solutions
};

}  // namespace

Grid make_grid(Grid grid) {
  std::set<int> levels, products;
  for (int code = grid.code_low; code <= grid.code_high; ++code) levels.insert(std::abs(grid.level(code)));
  const int most_scale = std::max(std::abs(grid.scale_low), std::abs(grid.scale_high));
  for (int scale = 1; scale <= most_scale; ++scale)
    for (int level : levels)
      if (level != 0) products.insert(scale * level);
  grid.products.assign(products.rbegin(), products.rend());
  while (grid.products.size() % 16 != 0) grid.products.push_back(1);
  return grid;
}

bool find_exact_scales(const Grid& grid, const float* values, BlockFields& fields) {
  float peak = 0;
  for (int i = 0; i < grid.values; ++i) peak = std::max(peak, std::fabs(values[i]));
  if (peak == 0) {
    for (int group = 0; group < grid.groups(); ++group) {
      fields.group_scale[group] = static_cast<std::int8_t>(std::max(grid.scale_low, 0));
      set_zero_group(grid, values + group * grid.group, 0.0f, 0, fields.codes + group * grid.group);
    }
    fields.scale = 0;
    return true;
  }
  for (bool keep_signs : {true, false}) {
    const bool found = visit_scales(grid, peak, 0, [&](float scale) {
      return fit_exact_scale(grid, values, scale, keep_signs, fields) ||
             fit_exact_scale(grid, values, -scale, keep_signs, fields);
    });
    if (found) return true;
  }
  return false;
}

bool find_exact_minimums(const Grid& grid, const float* values, BlockFields& fields) {
  return MinimumFinder(grid, values, fields).find();
}

}  // namespace kinglet
