#include "compress/quantize/factor.h"

#include <cmath>
#include <cstring>
#include <string>

#include "compress/quantize/rounding_kernels.h"

namespace kinglet {

/// Cholesky's factor of the matrix in reversed order, read backwards.
Result<MomentFactor> factorise(std::span<const float> moment, std::int64_t inputs) {
  const auto n = static_cast<std::size_t>(inputs);
  const RoundingKernels& kernels = rounding_kernels();
  std::vector<double> lower(n * n);
  for (std::size_t i = 0; i < n; ++i) {
    double* row = lower.data() + i * n;
    for (std::size_t j = 0; j <= i; ++j) {
      const double* other = lower.data() + j * n;
      const double rest = moment[(n - 1 - i) * n + (n - 1 - j)] - kernels.dot(row, other, static_cast<std::int64_t>(j));
      if (j < i) {
        row[j] = rest / other[j];
      } else if (rest > 0 && std::isfinite(rest)) {
        row[j] = std::sqrt(rest);
      } else {
        return fail(ErrorCode::kInvalidArgument,
                    "the second moments of the inputs are not positive definite at input " + std::to_string(n - 1 - i));
      }
    }
  }
  MomentFactor factor{.inputs = inputs, .columns = std::vector<float>(n * n), .pivots = std::vector<float>(n)};
  for (std::size_t k = 0; k < n; ++k) {
    const std::size_t at = n - 1 - k;
    const double pivot = lower[at * n + at];
    factor.pivots[k] = static_cast<float>(pivot * pivot);
    for (std::size_t i = 0; i < k; ++i) {
      factor.columns[k * n + i] = static_cast<float>(lower[(n - 1 - i) * n + at] / pivot);
    }
  }
  return factor;
}

void solve(const MomentFactor& factor, float* rows) {
  // Z U D U^T = R: first Y' U^T = R from the last input down, then Z U = Y' / D from the first up.
  constexpr int kLanes = kRoundingLanes;
  const RoundingKernels& kernels = rounding_kernels();
  for (std::int64_t k = factor.inputs - 1; k >= 0; --k) kernels.spread(factor.column(k), rows + k * kLanes, k, rows);
  for (std::int64_t k = 0; k < factor.inputs; ++k) {
    alignas(64) float sum[kLanes] = {};
    kernels.accumulate(factor.column(k), rows, k, sum);
    for (int lane = 0; lane < kLanes; ++lane) {
      rows[k * kLanes + lane] = rows[k * kLanes + lane] / factor.pivots[static_cast<std::size_t>(k)] - sum[lane];
    }
  }
}

}  // namespace kinglet
