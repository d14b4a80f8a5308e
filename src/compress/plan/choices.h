// What each matrix may become, and what that is expected to cost.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "kinglet/pass.h"

namespace kinglet {

/// One type that a matrix may take.
struct Choice {
  const BlockType* type = nullptr;
  std::uint64_t bytes = 0;  ///< in the file, with the padding to GGUF's alignment
  double loss = 0;          ///< expected; only differences and ratios between tensors count
};

/// The choices of one matrix, by ascending bytes.
struct TensorChoices {
  std::string name;
  std::int64_t elements = 0;
  std::vector<Choice> choices;
};

/// Which types are candidates.
struct ChoiceOptions {
  bool standard_only = false;  ///< types that other engines read, too
  double min_bits = 0;         ///< of a type
  bool compensated = false;    ///< what multiplies will be rounded with error compensation
  /// The candidates, beside what each matrix has; none: all types that are ever worth it.
  std::vector<const BlockType*> among = {};
};

/// The candidates of every matrix of the source, with a loss of sensitivity x relative squared error: the error is
/// measured by rounding a sample of rows, the sensitivity is measured on the model (sensitivity.h) or, where that
/// cannot be, a guess by the matrix's role. A type that gives the values back exactly (the source's own) has loss 0.
/// A table that is looked up by position keeps 5 bits or more; that of an encoder's token types stays.
Result<std::vector<TensorChoices>> list_choices(PassContext& context, const ChoiceOptions& options);

/// The choice of each tensor (an index into its choices) with the least summed loss at `budget` bytes or fewer in all.
/// Greedy along the lower convex hulls of (bytes, loss), which is exact up to one step, and the rest of the budget is
/// filled with what still fits. kInvalidArgument where the smallest choices are above the budget.
Result<std::vector<std::size_t>> allocate(std::span<const TensorChoices> tensors, std::uint64_t budget);

}  // namespace kinglet
