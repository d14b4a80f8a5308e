#include "compress/quantize/power_grid.h"

#include <algorithm>
#include <cmath>

namespace kinglet {

PowerGrid::PowerGrid(int bits, double exponent) : most_((1 << (bits - 1)) - 1), exponent_(exponent) {
  for (int q = 0; q <= most_; ++q) levels_[q] = std::pow(static_cast<double>(q) / most_, 1 / exponent);
}

int PowerGrid::encode(double value, double peak) const {
  if (!(peak > 0)) return 0;
  const double share = std::min(std::fabs(value) / peak, 1.0);
  const int code = static_cast<int>(std::lround(most_ * (exponent_ == 1 ? share : std::pow(share, exponent_))));
  return value < 0 ? -code : code;
}

double PowerGrid::product(std::int64_t codes) const {
  const double magnitude = std::pow(std::fabs(static_cast<double>(codes)) / (double(most_) * most_), 1 / exponent_);
  return codes < 0 ? -magnitude : magnitude;
}

double power_error(std::span<const float> values, std::span<const float> weights, std::size_t block, int bits,
                   double exponent) {
  const PowerGrid grid(bits, exponent);
  double error = 0, total = 0;
  for (std::size_t begin = 0; begin + block <= values.size(); begin += block) {
    const std::span<const float> x = values.subspan(begin, block);
    double peak = 0;
    for (float each : x) peak = std::max(peak, std::fabs(static_cast<double>(each)));
    if (peak == 0) continue;
    double least = INFINITY, square = 0;
    for (const double range : {1.0, 0.9, 0.8, 0.7}) {
      double xv = 0, vv = 0;
      square = 0;
      for (std::size_t i = 0; i < block; ++i) {
        const double w = weights.empty() ? 1 : weights[(begin + i) % weights.size()];
        const double v = grid.decode(grid.encode(x[i], range * peak), 1);
        xv += w * x[i] * v;
        vv += w * v * v;
        square += w * x[i] * x[i];
      }
      least = std::min(least, vv > 0 ? square - xv * xv / vv : square);
    }
    error += std::max(least, 0.0);
    total += square;
  }
  return total > 0 ? error / total : 0;
}

PowerMinimum search_exponent(const std::function<double(double)>& error, double low, double high) {
  constexpr double kGolden = 0.6180339887498949, kWidth = 0.005;
  PowerMinimum found;
  const auto at = [&](double exponent) {
    ++found.evaluations;
    return error(exponent);
  };
  double left = high - kGolden * (high - low), right = low + kGolden * (high - low);
  double left_error = at(left), right_error = at(right);
  while (high - low > kWidth) {
    if (left_error <= right_error) {
      high = right, right = left, right_error = left_error;
      left = high - kGolden * (high - low);
      left_error = at(left);
    } else {
      low = left, left = right, left_error = right_error;
      right = low + kGolden * (high - low);
      right_error = at(right);
    }
  }
  found.exponent = left_error <= right_error ? left : right;
  found.error = std::min(left_error, right_error);
  return found;
}

}  // namespace kinglet
