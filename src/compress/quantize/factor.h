// The triangular factor of a second-moment matrix, in the form that rounding in order needs.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kinglet/result.h"

namespace kinglet {

class ThreadPool;

/// H = U D U^T with U unit upper triangular: for an error row e, e H e^T = sum over k of d[k] (e[k] + sum over i < k of
/// e[i] U[i, k])^2, so that input k, rounded after the inputs before it, can cancel their share (QuIP, eq. 2: "LDLQ";
/// the same numbers as GPTQ's, without an inverse).
struct MomentFactor {
  std::int64_t inputs = 0;
  std::vector<float> triangle;  ///< column k of U above the diagonal, one after the other
  std::vector<float> pivots;    ///< d
  const float* column(std::int64_t k) const { return triangle.data() + k * (k - 1) / 2; }  ///< U[i, k] for i < k
};

/// `moment` [inputs, inputs], symmetric. kInvalidArgument where it is not positive definite. Computed in doubles, which
/// take as much memory as the moments meanwhile. The same bits for any number of threads.
Result<MomentFactor> factorise(std::span<const float> moment, std::int64_t inputs, ThreadPool& pool);

/// Solves Z H = R in place for 16 rows at a time: rows [inputs][16].
void solve(const MomentFactor& factor, float* rows);

}  // namespace kinglet
