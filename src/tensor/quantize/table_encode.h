// Rounds blocks to scale * level, one f16 scale a block and the levels of a table of signed bytes.
#pragma once

#include <cstdint>
#include <span>

namespace kinglet {

/// A block's scale and the indices of its levels.
struct TableBlock {
  std::uint16_t scale = 0;  ///< f16, of either sign
  std::uint8_t codes[256] = {};
};

/// `levels`: 4 to 32 in ascending order, of both signs and with 0. Minimises sum(weight * error^2) over the scale
/// (which may cut off the largest values, where that is better) and the codes. Values that are on such a grid come back
/// exactly. Any values give finite blocks; weights may be null.
void encode_table_block(std::span<const std::int8_t> levels, std::span<const float> values, const float* weights,
                        TableBlock& block);

}  // namespace kinglet
