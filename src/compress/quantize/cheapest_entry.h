// The search that clustering and the choice of codes share: the cheapest of a codebook's 256 entries.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "model/additive_format.h"
#include "tensor/quantize/lanes.h"

namespace kinglet {

/// A codebook with its entries side by side.
class EntrySearch {
 public:
  explicit EntrySearch(std::span<const float> book) : columns_(kAdditiveBookBytes) {
    for (int c = 0; c < kAdditiveEntries; ++c)
      for (int k = 0; k < kAdditiveGroup; ++k)
        columns_[static_cast<std::size_t>(k * kAdditiveEntries + c)] =
            book[static_cast<std::size_t>(c * kAdditiveGroup + k)];
  }

  /// The entry with the least factor * norms[c] - v c^T; the first of several in its lane.
  std::uint8_t cheapest(const float* norms, float factor, const float* v) const {
    Lanes best, index{}, place;
    fill_lanes(INFINITY, best);
    for (int lane = 0; lane < 16; ++lane) place[lane] = static_cast<float>(lane);
    for (int c = 0; c < kAdditiveEntries; c += 16) {
      Lanes cost;
      load_lanes(norms + c, cost);
      cost = cost * factor;
      for (int k = 0; k < kAdditiveGroup; ++k) {
        Lanes column;
        load_lanes(columns_.data() + k * kAdditiveEntries + c, column);
        cost -= column * v[k];
      }
      const LaneMask less = cost < best;
      best = less ? cost : best;
      index = less ? place : index;
      place += 16.0f;
    }
    int chosen = 0;
    for (int lane = 1; lane < 16; ++lane)
      if (best[lane] < best[chosen]) chosen = lane;
    return static_cast<std::uint8_t>(index[chosen]);
  }

 private:
  std::vector<float> columns_;  ///< [8][256]
};

}  // namespace kinglet
