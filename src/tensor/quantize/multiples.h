// BlockType::multiples of a type whose Layout has
//   static void factors(const uint8_t* block, float* unit, float* minimum_unit, int8_t* scales, int8_t* minimums)
// writing one integer a group (minimums only where kHasMinimum).
#pragma once

#include <cstddef>
#include <cstdint>

#include "tensor/quantize/bytes.h"

namespace kinglet {

template <class Layout>
void block_multiples(const std::byte* data, std::size_t blocks, float* units, float* minimum_units,
                     std::int8_t* scale_multiples, std::int8_t* minimum_multiples) {
  constexpr int kGroups = Layout::kValues / Layout::kGroup;
  for (std::size_t block = 0; block < blocks; ++block) {
    float minimum_unit = 0;
    std::int8_t minimums[kGroups] = {};
    Layout::factors(octets(data) + block * Layout::kBytes, units + block, &minimum_unit,
                    scale_multiples + block * kGroups, minimums);
    if (minimum_units != nullptr) minimum_units[block] = minimum_unit;
    if (minimum_multiples == nullptr) continue;
    for (int group = 0; group < kGroups; ++group) minimum_multiples[block * kGroups + group] = minimums[group];
  }
}

}  // namespace kinglet
