// Rounds one matrix, a tensor or a product of factors, once the sums over its inputs are known.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "compress/calibration/moments.h"
#include "compress/quantize/encoder_fit.h"
#include "compress/quantize/sequential.h"
#include "compress/quantize/targets.h"
#include "kinglet/factors.h"

namespace kinglet {

/// Moments of the inputs of one stage, and what its outputs lack: sums while text runs.
struct StageSums {
  StageSums(std::int64_t inputs, std::int64_t outputs, bool with_inputs, bool with_outputs)
      : inputs(inputs), moment(inputs) {
    if (with_inputs) input_difference = std::make_unique<MomentSum>(inputs);
    if (with_outputs) output_difference = std::make_unique<MomentSum>(outputs, inputs);
  }
  std::int64_t inputs;
  MomentSum moment;
  std::unique_ptr<MomentSum> input_difference;   ///< sum of x_ours (x_source - x_ours)^T
  std::unique_ptr<MomentSum> output_difference;  ///< sum of (y_source - y_ours) x_ours^T
  StageMeans means;                              ///< of weight 0 where no bias is fitted
};

/// The finished sums, with what all matrices of the stage share: the moments damped, and their factors.
class StageMoments {
 public:
  /// Where a bias will be fitted, it takes over the means, and the sums are those about them.
  StageMoments(StageSums sums, double damping);
  /// What is lacking; `moment` stays empty.
  InputSums differences() const {
    return {.moment = {}, .input_difference = input_difference_, .output_difference = output_difference_};
  }
  OrderedMoments moments;
  const StageMeans& means() const { return means_; }

 private:
  StageMeans means_;
  std::vector<float> input_difference_, output_difference_;
};

/// Rows of a matrix that are worked on together, so that a head of hundreds of millions of weights takes little more
/// than any other matrix.
std::int64_t rows_at_once(std::int64_t inputs);

/// Works on the members of a SequentialRounding, which it refers to.
class MatrixRounder {
 public:
  MatrixRounder(const std::unique_ptr<Workbench>& source, const std::unique_ptr<Workbench>& target,
                const TypePlan& plan, const SequentialOptions& options)
      : source_(source), target_(target), plan_(plan), options_(options) {}

  bool is_planned(const TensorInfo& tensor) const { return plan_.contains(tensor.name) || is_made(tensor.name); }
  bool is_missing(const TensorInfo& tensor, const RoundedStore& store) const {
    if (is_made(tensor.name)) return !options_.maker->finished(tensor.name);
    return plan_.contains(tensor.name) && !store.finished(tensor.name);
  }
  /// Rounds what the plan has of the matrix and the store lacks, and puts the result into the target.
  Result<void> round(const std::string& name, StageMoments& stage, RoundedStore& store);
  /// Puts what the store has into the target.
  Result<void> take_finished(const std::string& name, const RoundedStore& store);
  /// The source's values of a tensor.
  Result<std::vector<float>> values(const TensorInfo& tensor) const { return values(tensor, 0, tensor.rows()); }

 private:
  /// Rows of a matrix as they are, and what their outputs lack.
  struct Rows {
    std::vector<float> values, lacking;
  };
  using GetRows = std::function<Result<Rows>(std::int64_t begin, std::int64_t end)>;

  bool is_made(std::string_view name) const { return options_.maker != nullptr && options_.maker->makes(name); }
  /// Moves the values by what lacks.
  Result<void> correct(Rows& rows, OrderedMoments& moments) const;
  Result<Rows> rows_of(const TensorInfo& tensor, const InputSums& sums, std::int64_t begin, std::int64_t end) const;
  Result<void> round_groups(const FactoredMatrix& matrix, StageMoments& stage, RoundedStore& store);
  Result<void> round_factors(const FactoredMatrix& matrix, StageMoments& stage, RoundedStore& store);
  Result<std::vector<float>> values(const TensorInfo& tensor, std::int64_t begin, std::int64_t end) const;
  Result<std::vector<std::byte>> round_values(const TensorInfo& tensor, const GetRows& get, OrderedMoments& moments,
                                              RoundedStore& store);
  Result<void> join(const FactoredMatrix& matrix, const RoundedStore& store);

  const std::unique_ptr<Workbench>&source_, &target_;
  const TypePlan& plan_;
  const SequentialOptions& options_;
};

}  // namespace kinglet
