// Rotary positions (Su et al. 2021): cosines and sines of the rows of a call, one table for each kind of layer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "kinglet/architecture.h"

namespace kinglet {

/// Layers differ in base and scale (Gemma: sliding and full ones). Equal ones share a table; sliding and full ones
/// never, since a cache policy may give the full ones other positions.
struct RopeTables {
  struct Kind {
    double base, scale;
    bool sliding;
    std::vector<double> frequencies;  ///< [rope_dimensions / 2], radians a position
  };
  std::vector<Kind> kinds;
  std::vector<int> of_layer;  ///< index into kinds

  explicit RopeTables(const ModelConfig& config);

  /// Fills cosines and sines [kinds, max_rows, dimensions / 2] for the rows in [begin, end): of `positions`, for full
  /// layers of `full_positions` unless that is empty.
  void fill(std::span<const std::int32_t> positions, std::span<const std::int32_t> full_positions, std::size_t begin,
            std::size_t end, std::size_t max_rows, float* cosines, float* sines) const;
};

/// The mean over the positions [0, positions) of a vector [length] that turns with them: its slow part. In double.
std::vector<float> mean_rotation(const RopeTables::Kind& kind, RopeKind rope, std::span<const float> x,
                                 std::int64_t positions);

std::size_t rope_table_count(const ModelConfig& config);

}  // namespace kinglet
