// A matrix as a tensor train (CompactifAI, arXiv 2401.14109; Oseledets' TT-SVD): truncated singular value
// decompositions from the first site to the last.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "model/tensor_train.h"

namespace kinglet {

class ThreadPool;

/// The first cut of a matrix: what any bond there needs and loses.
class TrainSplit {
 public:
  /// values: W [outputs, inputs] row-major. Decomposes the first cut, with its first `most` singular vectors.
  TrainSplit(TrainShape shape, std::span<const float> values, std::int64_t most, ThreadPool& pool);
  const TrainShape& shape() const { return shape_; }  ///< with full bonds
  double total() const { return total_; }             ///< squared values of W
  /// Squared error of two sites with this bond: the sum of the discarded squared singular values.
  double error(std::int64_t bond) const;
  /// The sites (as stored) with at most `bond` (up to `most`) at each cut; `shape` gets the bonds. Singular values are
  /// shared evenly between the sites of a cut. For three sites and more, the later cuts are decomposed here.
  std::vector<std::vector<float>> sites(std::int64_t bond, TrainShape& shape, ThreadPool& pool) const;

 private:
  TrainShape shape_;
  double total_ = 0;
  std::vector<double> tensor_;   ///< W with its digits in the sites' order: [o_1 i_1, the rest]
  std::vector<double> squares_;  ///< squared singular values of the first cut, descending
  std::vector<double> left_;     ///< [bond, o_1 i_1]: left singular vectors
};

/// Squared Frobenius norm of (train - W).
double train_error(const TrainShape& shape, std::span<const std::vector<float>> sites, std::span<const float> values);

}  // namespace kinglet
