#include "compress/factorize/low_rank.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/thread_pool.h"
#include "base/try.h"
#include "compress/calibration/moments.h"
#include "compress/factorize/symmetric_eigen.h"
#include "compress/quantize/factor.h"
#include "decode/random.h"

namespace kinglet {
namespace {

using Doubles = std::vector<double>;

Doubles transposed(std::span<const double> matrix, std::size_t columns) {
  const std::size_t rows = matrix.size() / columns;
  Doubles result(matrix.size());
  for (std::size_t r = 0; r < rows; ++r) {
    for (std::size_t c = 0; c < columns; ++c) result[c * rows + r] = matrix[r * columns + c];
  }
  return result;
}

std::vector<float> damped_moments(const LowRankProblem& problem) {
  const auto n = static_cast<std::size_t>(problem.inputs);
  std::vector<float> moment(problem.moment.begin(), problem.moment.end());
  double mean = 0;
  for (std::size_t i = 0; i < n; ++i) mean += static_cast<double>(moment[i * n + i]) / static_cast<double>(n);
  for (std::size_t i = 0; i < n; ++i) moment[i * n + i] += static_cast<float>(problem.damping * mean + 1e-12);
  return moment;
}

/// W H W^T [outputs, outputs].
Doubles left_gram(const LowRankProblem& problem, const Doubles& weights, ThreadPool& pool) {
  if (problem.moment.empty()) return gram(weights, problem.inputs, pool);
  std::vector<float> product(weights.size());
  multiply_plain(problem.weights, damped_moments(problem), problem.inputs, problem.inputs, pool, product);
  Doubles result = product_transposed(Doubles(product.begin(), product.end()), weights, problem.inputs, pool);
  const auto rows = static_cast<std::size_t>(problem.outputs);
  for (std::size_t r = 0; r < rows; ++r) {
    for (std::size_t c = 0; c < r; ++c)
      result[r * rows + c] = result[c * rows + r] = (result[r * rows + c] + result[c * rows + r]) / 2;
  }
  return result;
}

/// (W L)^T [inputs, outputs], H = L L^T with L upper triangular.
Result<Doubles> turned_product(const LowRankProblem& problem, const Doubles& weights, ThreadPool& pool) {
  const auto n = static_cast<std::size_t>(problem.inputs);
  if (problem.moment.empty()) return transposed(weights, n);
  Doubles root(n * n);  // L^T
  KINGLET_TRY(const MomentFactor factor, factorise(damped_moments(problem), problem.inputs, pool));
  for (std::size_t k = 0; k < n; ++k) {
    const double size = std::sqrt(static_cast<double>(factor.pivots[k]));
    const float* column = factor.column(static_cast<std::int64_t>(k));
    for (std::size_t i = 0; i < k; ++i) root[k * n + i] = size * static_cast<double>(column[i]);
    root[k * n + k] = size;
  }
  return product_transposed(root, weights, problem.inputs, pool);
}

double norm_of(const float* values, std::size_t count, std::size_t stride) {
  double sum = 0;
  for (std::size_t i = 0; i < count; ++i) sum += static_cast<double>(values[i * stride]) * values[i * stride];
  return std::sqrt(sum);
}

}  // namespace

std::int64_t break_even_rank(std::int64_t outputs, std::int64_t inputs) {
  return outputs * inputs / (outputs + inputs);
}

Result<LowRankSolution> LowRankSolution::solve(const LowRankProblem& problem, std::int64_t most, ThreadPool& pool) {
  const std::int64_t outputs = problem.outputs, inputs = problem.inputs;
  const Doubles weights(problem.weights.begin(), problem.weights.end());
  LowRankSolution solution;
  if (outputs <= inputs) {
    SymmetricEigen eigen = symmetric_eigen(left_gram(problem, weights, pool), outputs, most, pool);
    solution.energies_ = std::move(eigen.values);
    solution.left_ = std::move(eigen.vectors);
  } else {
    KINGLET_TRY(const Doubles turned, turned_product(problem, weights, pool));
    const SymmetricEigen eigen = symmetric_eigen(gram(turned, outputs, pool), inputs, most, pool);
    solution.energies_ = eigen.values;
    const Doubles product = transposed(turned, static_cast<std::size_t>(outputs));
    solution.left_ = product_transposed(eigen.vectors, product, inputs, pool);  // S U^T [most, outputs]
    const auto width = static_cast<std::size_t>(outputs);
    for (std::size_t k = 0; k * width < solution.left_.size(); ++k) {
      // Directions that hold nothing stay out.
      const double energy = eigen.values[k];
      const double scale = energy > 1e-14 * eigen.values[0] ? 1 / std::sqrt(energy) : 0;
      for (std::size_t i = 0; i < width; ++i) solution.left_[k * width + i] *= scale;
    }
  }
  for (double& energy : solution.energies_) energy = std::max(energy, 0.0);
  return solution;
}

ThinFactors LowRankSolution::factors(const LowRankProblem& problem, std::int64_t rank, bool balanced,
                                     ThreadPool& pool) const {
  const auto r = static_cast<std::size_t>(rank), rows = static_cast<std::size_t>(problem.outputs),
             columns = static_cast<std::size_t>(problem.inputs);
  const std::span<const double> left(left_.data(), r * rows);
  const Doubles weights(problem.weights.begin(), problem.weights.end());
  const Doubles encoder = product_transposed(left, transposed(weights, columns), problem.outputs, pool);
  ThinFactors thin{{encoder.begin(), encoder.end()}, std::vector<float>(rows * r)};
  for (std::size_t k = 0; k < r; ++k) {
    double scale = 1;
    if (balanced) {
      const double norm = norm_of(thin.encoder.data() + k * columns, columns, 1);
      scale = norm > 0 ? std::sqrt(norm) : 1;
    }
    for (std::size_t o = 0; o < rows; ++o) thin.decoder[o * r + k] = static_cast<float>(left[k * rows + o] * scale);
    for (std::size_t i = 0; i < columns; ++i)
      thin.encoder[k * columns + i] = static_cast<float>(encoder[k * columns + i] / scale);
  }
  return thin;
}

ThinFactors random_factors(const LowRankProblem& problem, std::int64_t rank, std::uint64_t seed) {
  const auto r = static_cast<std::size_t>(rank);
  const double size = norm_of(problem.weights.data(), problem.weights.size(), 1) /
                      std::sqrt(static_cast<double>(problem.weights.size()));  // of one number of W
  const double each = std::sqrt(size / std::sqrt(static_cast<double>(r)));
  ThinFactors thin{std::vector<float>(r * static_cast<std::size_t>(problem.inputs)),
                   std::vector<float>(r * static_cast<std::size_t>(problem.outputs))};
  Random random(seed);
  for (std::vector<float>* part : {&thin.encoder, &thin.decoder}) {
    for (float& value : *part) {  // Box and Muller
      const double radius = std::sqrt(-2 * std::log(1 - random.uniform()));
      value = static_cast<float>(each * radius * std::cos(2 * std::numbers::pi * random.uniform()));
    }
  }
  return thin;
}

}  // namespace kinglet
