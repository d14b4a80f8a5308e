// The inner loops of error-compensated rounding, one table an instruction set. All sums go in one written order and
// nothing is fused, so every set gives the same bits. Rows of a matrix lie in the 16 lanes of a vector.
#pragma once

#include <cstdint>

#include "base/cpu.h"

namespace kinglet {

/// Rows that are rounded side by side.
inline constexpr int kRoundingLanes = 16;
inline constexpr int kDotRows = 4, kDotColumns = 2, kDotChains = 8;

/// A group's grid for 16 rows: value = scale * level - minimum.
struct LaneGroup {
  alignas(64) float scale[kRoundingLanes];
  alignas(64) float minimum[kRoundingLanes];
};

/// The levels of a block type: all integers of a range, or a list in ascending order.
struct LevelSet {
  float low = 0, high = 0;
  const float* list = nullptr;  ///< null: the integers low..high
  int count = 0;
};

/// 32 inputs of a trellis type (tensor/quantize/trellis.h) for 16 rows, in coding order.
struct TrellisJob {
  int states = 0, choices = 0;          ///< histories; values of the bits beside the choice
  const std::int8_t* levels = nullptr;  ///< 64
  const float* scales = nullptr;        ///< [16]
  const float* targets = nullptr;       ///< [32][16]
  const float* fed = nullptr;           ///< [32][16]: what the errors before the group feed back
  const float* feedback = nullptr;      ///< [32], `stride` apart: row j holds U[j, c] at c
  std::int64_t stride = 0;
  const float* weights = nullptr;  ///< [32]: D
};

struct RoundingKernels {
  /// The best path that keeps one history for each state, its errors fed back along it: windows [32][16] (the indices
  /// of the levels) and its cost, the sum of weights * (error after feedback)^2.
  void (*trellis)(const TrellisJob& job, std::uint8_t* windows, float* cost);

  /// sum[16] += factors[i] * errors[i][16] for i in [0, count), in ascending order, in four interleaved chains.
  void (*accumulate)(const float* factors, const float* errors, std::int64_t count, float* sum);
  /// Nearest values of the grid: levels[16] and values[16] of wanted[16].
  void (*nearest)(const LevelSet& set, const LaneGroup& group, const float* wanted, float* levels, float* values);
  /// gradients[count][16]: rows begin..begin+count of second-moment matrix [inputs, inputs] times errors[inputs][16].
  void (*gradients)(const float* moment, std::int64_t inputs, std::int64_t begin, int count, const float* errors,
                    float* gradients);
  /// For a group's levels l, its gradients c and its part M of the matrix: sums[5][16] = l·c, l·M·l, 1·c, l·M·1, 1·M·1.
  void (*group_sums)(const float* moment, std::int64_t inputs, std::int64_t begin, int count, const float* levels,
                     const float* gradients, float* sums);
  /// Coordinate descent over a group's inputs, `sweeps` times: each level becomes the best one given all others.
  /// targets, errors, levels [count][16] and gradients are those of the group, and are updated. True if any changed.
  bool (*descend)(const LevelSet& set, const LaneGroup& group, const float* moment, std::int64_t inputs,
                  std::int64_t begin, int count, int sweeps, const float* targets, float* errors, float* levels,
                  float* gradients);
  /// Moves a group to another scale and minimum with its levels as they are; errors and gradients follow.
  void (*regrid)(const LaneGroup& group, const float* moment, std::int64_t inputs, std::int64_t begin, int count,
                 const float* targets, const float* levels, float* errors, float* gradients);
  /// rows[i][16] -= factors[i] * y[16] for i in [0, count).
  void (*spread)(const float* factors, const float* y, std::int64_t count, float* rows);
  /// Dot products of doubles in eight interleaved chains, of kDotRows rows with kDotColumns others: `sums` (row by row,
  /// 8 each) goes on from what it holds. `count` is a multiple of 8.
  void (*dots)(const double* const* rows, const double* const* columns, std::int64_t count, double* sums);
  /// The end of such a product: the last terms, of any count, and the sum of the chains.
  double (*dot_end)(const double* row, const double* column, std::int64_t count, const double* sums);
};
const RoundingKernels& rounding_kernels();
const RoundingKernels& rounding_kernels(Isa isa);

}  // namespace kinglet
