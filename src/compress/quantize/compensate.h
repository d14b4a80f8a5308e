// Rounding of a matrix to a block type so that its outputs on calibration inputs stay, rather than its weights.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "compress/quantize/ordered_moments.h"
#include "kinglet/block_type.h"
#include "kinglet/result.h"

namespace kinglet {

class ThreadPool;

struct CompensateOptions {
  int sweeps = 2;              ///< over all groups: scales and levels, each the best given the others; 0: GPTQ alone
  int local_sweeps = 2;        ///< of the levels of a group at each visit
  bool refine_scales = true;   ///< fit each group's scale (and minimum) to its levels in the sweeps
  bool feed_back = true;       ///< round in order with the errors so far fed back; false: plain rounding first
  bool report_errors = false;  ///< costs as much as half of the sweeps
};

struct CompensateReport {
  double error = 0;        ///< sum over rows of e H e^T; 0 where it was not asked for
  double first_error = 0;  ///< before the sweeps
  std::int64_t inexact_blocks = 0;
};

/// Rounds `targets` [rows, inputs] to `type`: minimises the sum over rows of e H e^T, e = rounded - target, H =
/// the moments (damped by the caller), which are put into the order of the type. out: rows * type.row_bytes(inputs).
/// Deterministic: rows do not depend on each other, nor on the number of threads. kInvalidArgument where the moments
/// are not positive definite.
Result<CompensateReport> round_compensated(const BlockType& type, std::span<const float> targets, std::int64_t rows,
                                           OrderedMoments& moments, const CompensateOptions& options, ThreadPool& pool,
                                           std::byte* out);

}  // namespace kinglet
