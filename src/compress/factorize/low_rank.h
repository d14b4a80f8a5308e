// The best product of two thin matrices in place of a matrix (Greenformers, arXiv 2108.10808; weighted by the inputs'
// second moments, as the card's step A.7).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kinglet/result.h"

namespace kinglet {

class ThreadPool;

/// A matrix W [outputs, inputs] and what its inputs look like.
struct LowRankProblem {
  std::span<const float> weights;
  std::int64_t outputs = 0, inputs = 0;
  /// H = sum of x x^T [inputs, inputs]: then the outputs' error sum |(W - D E) x|^2 is least; empty: |W - D E|^2 (plain
  /// SVD).
  std::span<const float> moment = {};
  double damping = 0.01;  ///< added to the diagonal of H, as a share of its mean
};

/// The rank from which on two factors have as many numbers as the matrix.
std::int64_t break_even_rank(std::int64_t outputs, std::int64_t inputs);

/// Factors [rank, inputs] and [outputs, rank].
struct ThinFactors {
  std::vector<float> encoder, decoder;
};

/// H = L L^T, W L = U S V^T; D E = U_r U_r^T W has the singular values' first r, whatever L is, and needs no inverse of
/// it. Computed from the smaller of the two Gram matrices of W L.
class LowRankSolution {
 public:
  /// The first `most` singular vectors. kInvalidArgument where the moments are not finite or not positive definite.
  static Result<LowRankSolution> solve(const LowRankProblem& problem, std::int64_t most, ThreadPool& pool);
  /// Squared singular values of W L, the largest first: min(outputs, inputs) of them; the error of rank r is the sum of
  /// those from r on.
  const std::vector<double>& energies() const { return energies_; }
  /// `balanced`: each row of the encoder and column of the decoder with the same norm, as further training wants it;
  /// otherwise the decoder's columns are orthonormal. The product is the same.
  ThinFactors factors(const LowRankProblem& problem, std::int64_t rank, bool balanced, ThreadPool& pool) const;

 private:
  std::vector<double> energies_;
  std::vector<double> left_;  ///< [most, outputs]: rows are U's columns
};

/// Factors of normal random numbers whose product has the size of the matrix: where training starts without a model.
ThinFactors random_factors(const LowRankProblem& problem, std::int64_t rank, std::uint64_t seed);

}  // namespace kinglet
