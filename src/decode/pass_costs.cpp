#include "decode/pass_costs.h"

#include <algorithm>
#include <cmath>

namespace kinglet {
namespace {

/// Rows after the first that hide behind the reading of the weights.
constexpr double kHidden = 4;
/// One slow or fast pass tells little: errors (of logarithms) are cut to this.
constexpr double kLargestError = 1;
/// Where long passes look too dear, none are made and nothing is learnt: each plain pass moves the slopes back by this
/// share, so that in time they are tried again.
constexpr double kForgetting = 0.001;

double first_rows(std::size_t rows) { return std::min(static_cast<double>(rows) - 1, kHidden); }
double further_rows(std::size_t rows) { return std::max(static_cast<double>(rows) - 1 - kHidden, 0.0); }

}  // namespace

double PassCosts::relative(std::size_t rows) const {
  return 1 + first_slope_ * first_rows(rows) + second_slope_ * further_rows(rows);
}

void PassCosts::observe(std::size_t rows, double seconds) {
  if (rows == 0 || !(seconds > 0)) return;
  const double one = seconds / relative(rows);
  level_ = level_ == 0 ? one : level_ * std::exp(0.2 * std::log(one / level_));
  const std::size_t before = last_rows_;
  const double ratio = last_seconds_ > 0 ? seconds / last_seconds_ : 1;
  last_rows_ = rows;
  last_seconds_ = seconds;
  if (rows == 1) {
    first_slope_ += kForgetting * (kFirstSlope - first_slope_);
    second_slope_ += kForgetting * (kSecondSlope - second_slope_);
  }
  if (before == 0 || before == rows) return;
  // Both passes ran under the same load: a stall of one adds to this comparison and subtracts from the next. A step of
  // normalised least mean squares on log(relative(rows) / relative(before)).
  const double error = std::clamp(std::log(ratio * relative(before) / relative(rows)), -kLargestError, kLargestError);
  const double by_first = first_rows(rows) / relative(rows) - first_rows(before) / relative(before);
  const double by_second = further_rows(rows) / relative(rows) - further_rows(before) / relative(before);
  const double norm = by_first * by_first + by_second * by_second;
  if (norm < 1e-9) return;
  const double step = std::max(0.02, 0.1 / (1 + compared_++ / 40.0)) * error / std::max(norm, 1.0);
  first_slope_ = std::clamp(first_slope_ + step * by_first, kFirstSlope / 2, 2.0);
  second_slope_ = std::clamp(second_slope_ + step * by_second, kSecondSlope / 2, 2.0);
}

double PassCosts::value(std::size_t drafted, double tokens, double spent) const {
  const auto others = static_cast<double>(other_streams_);
  const double plain = (others + 1) / relative(other_rows_ + 1);
  return (others + tokens) / (relative(other_rows_ + 1 + drafted) + spent) / plain;
}

}  // namespace kinglet
