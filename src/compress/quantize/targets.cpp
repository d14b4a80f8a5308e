#include "compress/quantize/targets.h"

#include <algorithm>
#include <atomic>

#include "base/thread_pool.h"
#include "compress/calibration/moments.h"
#include "compress/quantize/rounding_kernels.h"

namespace kinglet {
namespace {

using Floats = std::vector<float>;

/// a b^T, a [rows, inner], b [columns, inner].
Floats times_transposed(std::span<const float> a, std::span<const float> b, std::int64_t inner, ThreadPool& pool) {
  const std::int64_t columns = static_cast<std::int64_t>(b.size()) / inner;
  Floats product(a.size() / static_cast<std::size_t>(inner) * static_cast<std::size_t>(columns));
  multiply_plain(a, b, inner, columns, pool, product);
  return product;
}

Floats transposed(std::span<const float> matrix, std::int64_t columns) {
  const auto width = static_cast<std::size_t>(columns), rows = matrix.size() / width;
  Floats result(matrix.size());
  for (std::size_t r = 0; r < rows; ++r) {
    for (std::size_t c = 0; c < width; ++c) result[c * rows + r] = matrix[r * width + c];
  }
  return result;
}

}  // namespace

void add_correction(const MomentFactor& factor, std::span<const float> lacking, double share, ThreadPool& pool,
                    std::span<float> weights) {
  const std::int64_t inputs = factor.inputs, rows = static_cast<std::int64_t>(weights.size()) / inputs;
  const std::int64_t strips = (rows + kRoundingLanes - 1) / kRoundingLanes;
  std::atomic<std::int64_t> next{0};
  pool.run([&](int) {
    Floats z(static_cast<std::size_t>(inputs * kRoundingLanes));
    for (std::int64_t strip = next++; strip < strips; strip = next++) {
      const std::int64_t first = strip * kRoundingLanes, count = std::min<std::int64_t>(kRoundingLanes, rows - first);
      std::fill(z.begin(), z.end(), 0.0f);
      for (std::int64_t lane = 0; lane < count; ++lane) {
        for (std::int64_t k = 0; k < inputs; ++k)
          z[static_cast<std::size_t>(k * kRoundingLanes + lane)] =
              lacking[static_cast<std::size_t>((first + lane) * inputs + k)];
      }
      solve(factor, z.data());
      for (std::int64_t lane = 0; lane < count; ++lane) {
        for (std::int64_t k = 0; k < inputs; ++k)
          weights[static_cast<std::size_t>((first + lane) * inputs + k)] +=
              static_cast<float>(share) * z[static_cast<std::size_t>(k * kRoundingLanes + lane)];
      }
    }
  });
}

Floats lacking_outputs(std::span<const float> weights, std::int64_t inputs, const InputSums& sums, ThreadPool& pool) {
  if (sums.input_difference.empty()) return {sums.output_difference.begin(), sums.output_difference.end()};
  Floats lacking = times_transposed(weights, sums.input_difference, inputs, pool);
  for (std::size_t i = 0; i < sums.output_difference.size(); ++i) lacking[i] += sums.output_difference[i];
  return lacking;
}

SecondFactorSums second_factor_sums(std::span<const float> encoder, std::span<const float> rounded,
                                    std::span<const float> decoder, std::int64_t inputs, std::int64_t rank,
                                    const InputSums& sums, ThreadPool& pool) {
  SecondFactorSums result;
  // The moments are symmetric, so times_transposed is the plain product with them.
  const Floats rounded_moment = times_transposed(rounded, sums.moment, inputs, pool);  // [rank, inputs]
  result.moment = times_transposed(rounded_moment, rounded, inputs, pool);
  // What the inner values lack: E x_source - rounded x_ours, times x_ours^T.
  Floats inner = times_transposed(encoder, sums.moment, inputs, pool);
  for (std::size_t i = 0; i < inner.size(); ++i) inner[i] -= rounded_moment[i];
  if (!sums.input_difference.empty()) {
    const Floats more = times_transposed(encoder, sums.input_difference, inputs, pool);
    for (std::size_t i = 0; i < inner.size(); ++i) inner[i] += more[i];
  }
  Floats lacking = times_transposed(decoder, transposed(inner, inputs), rank, pool);  // [outputs, inputs]
  for (std::size_t i = 0; i < sums.output_difference.size(); ++i) lacking[i] += sums.output_difference[i];
  result.lacking = times_transposed(lacking, rounded, inputs, pool);
  return result;
}

}  // namespace kinglet
