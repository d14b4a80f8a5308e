// Rotary angles of slots, for keys that are kept unrotated and rotated when they are read.
#pragma once

#include <cstdint>
#include <vector>

#include "base/aligned_memory.h"
#include "engine/rope.h"
#include "kinglet/architecture.h"
#include "tensor/kernels/attention.h"

namespace kinglet {

/// What a tile needs to rotate a layer's keys.
struct SlotAngles {
  const float *cosines = nullptr, *sines = nullptr;  ///< [group of 16 slots][half][16]
  int half = 0;                                      ///< rotary dimensions / 2
  bool pairs = false;                                ///< which dimensions turn together: RopeKind::kPairs, or kHalves

  explicit operator bool() const { return cosines != nullptr; }
};

/// Tables for every kind of full layer. They grow with the highest slot that was ever asked for.
class KeyRotation {
 public:
  explicit KeyRotation(const ModelConfig& config);
  /// Slots below `slots` can be rotated from now on.
  void reach(std::int64_t slots);
  SlotAngles of(int layer) const;

 private:
  RopeTables rope_;
  bool pairs_;
  std::int64_t groups_ = 0;
  std::vector<std::vector<float>> cosines_, sines_;  ///< by kind
};

}  // namespace kinglet
