// The matrices of a model one by one, each with the second moments of its inputs on calibration text.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "compress/factorize/low_rank.h"
#include "kinglet/pass.h"

namespace kinglet {

struct ProblemOptions {
  bool moments = true;  ///< false: no text is read, and the problems have none
  std::size_t tokens = 16384;
  double damping = 0.01;
};

/// Calls `work` for each of the named matrices (tensors of the source), in the order of the layers. The problem's spans
/// hold during the call. kInvalidArgument where no calibration text reaches a matrix.
Result<void> each_problem(PassContext& context, const std::vector<std::string>& names, const ProblemOptions& options,
                          const std::function<Result<void>(const TensorInfo& tensor, const LowRankProblem&)>& work);

/// Squared singular values (as LowRankSolution::energies) of each matrix, in the order of the names; kept in the cache
/// folder.
Result<std::vector<std::vector<double>>> spectra_of(PassContext& context, const std::vector<std::string>& names,
                                                    const ProblemOptions& options);

}  // namespace kinglet
