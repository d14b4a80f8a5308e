// Second moments of the inputs of matrices.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace kinglet {

class ThreadPool;

/// sum += X^T Y over the rows of X [rows, left] and Y [rows, right]; sum [left, right]. Where X and Y are the same rows
/// only the lower triangle is computed, and mirrored. Products in f32 by the engine's kernels: the same bits for any
/// number of threads and any instruction set.
class MomentSum {
 public:
  MomentSum(std::int64_t left, std::int64_t right);
  explicit MomentSum(std::int64_t inputs) : MomentSum(inputs, inputs) {}
  void add(std::span<const float> x, std::span<const float> y, ThreadPool& pool);
  std::vector<float>& sum() { return sum_; }
  const std::vector<float>& sum() const { return sum_; }
  /// The sum, moved out; what adding needed is freed.
  std::vector<float> take();

 private:
  void add_strip(std::int64_t first, std::int64_t rows, bool symmetric, std::vector<float>& part);

  std::int64_t left_, right_;
  std::vector<float> sum_;
  std::vector<float> left_rows_, right_rows_;  ///< transposed: [left, rows], [right, rows]
  std::vector<float> tiles_;                   ///< the second of them, packed
};

/// out [rows, outputs] = x [rows, inputs] times matrix^T, matrix [outputs, inputs], in f32.
void multiply_plain(std::span<const float> x, std::span<const float> matrix, std::int64_t inputs, std::int64_t outputs,
                    ThreadPool& pool, std::span<float> out);

}  // namespace kinglet
