// The triangular factor of a second-moment matrix, in the form that rounding in order needs.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kinglet/result.h"

namespace kinglet {

/// H = U D U^T with U unit upper triangular: for an error row e, e H e^T = sum over k of d[k] (e[k] + sum over i < k of
/// e[i] U[i, k])^2, so that input k, rounded after the inputs before it, can cancel their share (QuIP, eq. 2: "LDLQ";
/// the same numbers as GPTQ's, without an inverse).
struct MomentFactor {
  std::int64_t inputs = 0;
  std::vector<float> columns;  ///< [inputs, inputs]: row k holds U[i, k] for i < k, then nothing of use
  std::vector<float> pivots;   ///< d
  const float* column(std::int64_t k) const { return columns.data() + k * inputs; }
};

/// `moment` [inputs, inputs], symmetric. kInvalidArgument where it is not positive definite.
Result<MomentFactor> factorise(std::span<const float> moment, std::int64_t inputs);

/// Solves Z H = R in place for 16 rows at a time: rows [inputs][16].
void solve(const MomentFactor& factor, float* rows);

}  // namespace kinglet
