#include "decode/softmax.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace kinglet {
namespace {

constexpr std::size_t kLanes = 16;
constexpr float kNone = -std::numeric_limits<float>::infinity();

}  // namespace

float maximum(std::span<const float> row) {
  float lanes[kLanes];
  std::fill(lanes, lanes + kLanes, kNone);
  std::size_t i = 0;
  for (; i + kLanes <= row.size(); i += kLanes)
    for (std::size_t j = 0; j < kLanes; ++j) lanes[j] = row[i + j] > lanes[j] ? row[i + j] : lanes[j];
  for (; i < row.size(); ++i) lanes[0] = row[i] > lanes[0] ? row[i] : lanes[0];
  return *std::max_element(lanes, lanes + kLanes);
}

std::size_t argmax(std::span<const float> row) {
  const float max = maximum(row);
  if (max == kNone) return row.size();
  return static_cast<std::size_t>(std::find(row.begin(), row.end(), max) - row.begin());
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
