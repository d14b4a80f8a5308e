// Where a model's packed matrices live: one region a thread, written by that thread first (so that its pages are near
// it).
#pragma once

#include <cstddef>
#include <vector>

#include "base/aligned_memory.h"
#include "kinglet/model.h"

namespace kinglet {

struct Model::Arena {
  std::vector<AlignedMemory> memory;

  /// Runs start on cache lines.
  static std::size_t aligned(std::size_t bytes) { return (bytes + 63) / 64 * 64; }
  static Result<std::vector<AlignedMemory>> allocate(const std::vector<std::size_t>& sizes);
};

}  // namespace kinglet
