#include "compress/quantize/hidden_rows.h"

#include <cmath>

#include "tensor/kernels/elementwise.h"

namespace kinglet {

void normalise(const ModelConfig& config, const Vector& weight, const Vector& bias, std::span<const float> from,
               Rows& to) {
  const auto width = static_cast<std::size_t>(config.width);
  to.resize(from.size());
  for (std::size_t at = 0; at < from.size(); at += width) {
    const float epsilon = static_cast<float>(config.norm_epsilon);
    if (config.norm == NormKind::kLayer) {
      elementwise().layer_norm(from.data() + at, weight.data(), bias.empty() ? nullptr : bias.data(), config.width,
                               epsilon, to.data() + at);
    } else {
      elementwise().rms_norm(from.data() + at, weight.data(), config.width, epsilon, to.data() + at);
    }
  }
}

std::vector<float> row_weights(std::span<const float> rows, std::size_t width, NormKind norm) {
  std::vector<float> weights(rows.size() / width);
  for (std::size_t t = 0; t < weights.size(); ++t) {
    double sum = 0, squares = 0;
    for (std::size_t i = 0; i < width; ++i) {
      sum += rows[t * width + i];
      squares += double(rows[t * width + i]) * rows[t * width + i];
    }
    const double mean = norm == NormKind::kLayer ? sum / static_cast<double>(width) : 0;
    weights[t] = static_cast<float>(1 / std::sqrt(squares / static_cast<double>(width) - mean * mean + 1e-8));
  }
  return weights;
}

void scale_rows(std::span<const float> weights, std::size_t width, Rows& rows) {
  for (std::size_t t = 0; t < weights.size(); ++t) {
    for (std::size_t i = 0; i < width; ++i) rows[t * width + i] *= weights[t];
  }
}

void subtract(const Rows& from, const Rows& what, Rows& difference) {
  difference.resize(from.size());
  for (std::size_t i = 0; i < from.size(); ++i) difference[i] = from[i] - what[i];
}

}  // namespace kinglet
