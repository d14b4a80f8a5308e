#include "decode/softmax.h"

#include <cmath>
#include <limits>

#include "tensor/kernels/elementwise.h"

namespace kinglet {
namespace {

constexpr std::size_t kLanes = 16;
constexpr float kNone = -std::numeric_limits<float>::infinity();

}  // namespace

float maximum(std::span<const float> row) {
  return elementwise().maximum(row.data(), static_cast<std::int64_t>(row.size()));
}

std::size_t argmax(std::span<const float> row) {
  if (row.empty()) return 0;
  const auto best = static_cast<std::size_t>(elementwise().arg_max(row.data(), static_cast<std::int64_t>(row.size())));
  return row[best] > kNone ? best : row.size();
}

double exp_sum(std::span<const float> row, float max) {
  double lanes[kLanes] = {};
  std::size_t i = 0;
  for (; i + kLanes <= row.size(); i += kLanes) {
    float values[kLanes];
    for (std::size_t j = 0; j < kLanes; ++j) values[j] = exp_nonpositive(row[i + j] - max);
    for (std::size_t j = 0; j < kLanes; ++j) lanes[j] += values[j];
  }
  for (; i < row.size(); ++i) lanes[i % kLanes] += exp_nonpositive(row[i] - max);
  double sum = 0;
  for (double lane : lanes) sum += lane;
  return sum;
}

double log_sum_exp(std::span<const float> row) {
  const float max = maximum(row);
  if (max == kNone) return -std::numeric_limits<double>::infinity();
  if (std::isinf(max)) return std::numeric_limits<double>::infinity();
  return max + std::log(exp_sum(row, max));
}

}  // namespace kinglet
