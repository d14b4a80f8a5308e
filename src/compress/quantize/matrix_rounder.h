// Rounds one matrix, a tensor or a product of factors, once the sums over its inputs are known.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "compress/calibration/moments.h"
#include "compress/quantize/sequential.h"
#include "compress/quantize/targets.h"
#include "kinglet/factors.h"

namespace kinglet {

/// Moments of the inputs of one stage, and what its outputs lack.
struct StageSums {
  StageSums(std::int64_t inputs, std::int64_t outputs, bool with_inputs, bool with_outputs) : moment(inputs) {
    if (with_inputs) input_difference = std::make_unique<MomentSum>(inputs);
    if (with_outputs) output_difference = std::make_unique<MomentSum>(outputs, inputs);
  }
  MomentSum moment;
  std::unique_ptr<MomentSum> input_difference;   ///< sum of x_ours (x_source - x_ours)^T
  std::unique_ptr<MomentSum> output_difference;  ///< sum of (y_source - y_ours) x_ours^T
  InputSums inputs() const {
    InputSums sums{.moment = moment.sum(), .input_difference = {}, .output_difference = {}};
    if (input_difference) sums.input_difference = input_difference->sum();
    if (output_difference) sums.output_difference = output_difference->sum();
    return sums;
  }
};

/// Works on the members of a SequentialRounding, which it refers to.
class MatrixRounder {
 public:
  MatrixRounder(const std::unique_ptr<Workbench>& source, const std::unique_ptr<Workbench>& target,
                const TypePlan& plan, const SequentialOptions& options)
      : source_(source), target_(target), plan_(plan), options_(options) {}

  /// The tensors of a matrix: itself, or its factors.
  std::vector<const TensorInfo*> tensors_of(const std::string& name) const;
  bool is_planned(const TensorInfo& tensor) const { return plan_.contains(tensor.name) || is_made(tensor.name); }
  bool is_missing(const TensorInfo& tensor, const RoundedStore& store) const {
    if (is_made(tensor.name)) return !options_.maker->finished(tensor.name);
    return plan_.contains(tensor.name) && !store.finished(tensor.name);
  }
  /// Rounds what the plan has of the matrix and the store lacks, and puts the result into the target.
  Result<void> round(const std::string& name, const StageSums& sums, RoundedStore& store);
  /// Puts what the store has into the target.
  Result<void> take_finished(const std::string& name, const RoundedStore& store);
  /// The source's values of a tensor.
  Result<std::vector<float>> values(const TensorInfo& tensor) const;

 private:
  bool is_made(std::string_view name) const { return options_.maker != nullptr && options_.maker->makes(name); }
  /// Damps the moments, and moves `goal` by what lacks.
  Result<MomentFactor> prepare(std::int64_t inputs, std::span<const float> lacking, std::vector<float>& moment,
                               std::vector<float>& goal) const;
  Result<void> round_factors(const FactoredMatrix& matrix, const StageSums& sums, RoundedStore& store);
  Result<std::vector<std::byte>> round_values(const TensorInfo& tensor, std::vector<float> goal,
                                              std::span<const float> lacking, std::vector<float> moment,
                                              RoundedStore& store);
  Result<void> join(const FactoredMatrix& matrix, const RoundedStore& store);

  const std::unique_ptr<Workbench>&source_, &target_;
  const TypePlan& plan_;
  const SequentialOptions& options_;
};

}  // namespace kinglet
