// Evolutionary search over the types of a model's matrices (EvoPress, arXiv 2410.14649, over GPTQ levels).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "compress/plan/choices.h"
#include "kinglet/pass.h"

namespace kinglet {

struct TypeSearchOptions {
  int generations = 40;
  int offspring = 16;
  std::size_t tokens = 8192;  ///< of calibration text for the rounded matrices
  /// Names of the types that a matrix may take, its chosen one among them; none: that, the next smaller and the next
  /// larger.
  std::vector<std::string> types = {};
  bool exact = false;  ///< every point has the bytes of the start (SearchOptions::exact)
};

struct TypeSearchReport {
  double start_kl = 0, end_kl = 0;  ///< on the calibration text of the last stage, both on the same data
  int accepted = 0;
};

/// Improves `chosen` (an index into each tensor's choices) at `budget` bytes or fewer. Each matrix may take the types
/// of the options, or its chosen one and the next smaller and larger ones of its choices that are worth it; all are
/// rounded once with error compensation and kept packed (three times the model's size in memory: kExhausted above the
/// context's). Starts at `chosen`, or at the allocation of the least sum of what each matrix loses alone where that is
/// better. The fitness is the mean logarithm of the KL of next-token distributions from the source's over calibration
/// windows, the same for all points of a comparison. Goes on from the journal in the work folder. Deterministic for a
/// seed.
Result<std::vector<std::size_t>> search_types(PassContext& context, const std::vector<TensorChoices>& tensors,
                                              std::vector<std::size_t> chosen, std::uint64_t budget,
                                              const TypeSearchOptions& options, TypeSearchReport* report = nullptr);

}  // namespace kinglet
