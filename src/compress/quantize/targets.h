// What a matrix is moved to before it is rounded, so that it makes up for what was lost before it.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "compress/quantize/factor.h"

namespace kinglet {

class ThreadPool;

/// weights [rows, inputs] += share * lacking H^-1, lacking [rows, inputs] the sum over tokens of (wanted output -
/// output) x^T, H the factor's moments of x: the least-squares answer to what lacks.
void add_correction(const MomentFactor& factor, std::span<const float> lacking, double share, ThreadPool& pool,
                    std::span<float> weights);

/// Moments of the inputs of a matrix [inputs, inputs], and what it lacks: at most one of the two is not empty.
struct InputSums {
  std::span<const float> moment;
  std::span<const float> input_difference;   ///< sum of x_ours (x_source - x_ours)^T [inputs, inputs]
  std::span<const float> output_difference;  ///< sum of (y_source - y_ours) x_ours^T [outputs, inputs]
};

/// (wanted output - output) x^T of a matrix; empty where nothing is known to lack.
std::vector<float> lacking_outputs(std::span<const float> weights, std::int64_t inputs, const InputSums& sums,
                                   ThreadPool& pool);

/// Of the second factor of D E, once the first is rounded to `rounded`: moments of its inputs z = rounded x, and what
/// D lacks on them, the first factor's rounding errors included.
struct SecondFactorSums {
  std::vector<float> moment;   ///< [rank, rank]
  std::vector<float> lacking;  ///< [outputs, rank]
};
SecondFactorSums second_factor_sums(std::span<const float> encoder, std::span<const float> rounded,
                                    std::span<const float> decoder, std::int64_t inputs, std::int64_t rank,
                                    const InputSums& sums, ThreadPool& pool);

}  // namespace kinglet
