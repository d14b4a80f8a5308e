// What an encoder decides about one block, before its bits are packed.
#pragma once

#include <cstdint>
#include <vector>

namespace kinglet {

/// value = scale * group_scale * level(code) - minimum * group_minimum. Types without groups have group_scale =
/// group_minimum = 1; types without a minimum leave those fields alone.
struct BlockFields {
  std::uint16_t scale = 0, minimum = 0;  ///< f16
  std::int8_t codes[256] = {};           ///< as BlockType::codes gives them
  std::int8_t group_scale[16] = {};
  std::int8_t group_minimum[16] = {};
};

/// Which values a type can express; the same for all its blocks.
struct Grid {
  int values, group;
  int code_low, code_high;
  const std::int8_t* codebook;  ///< level(code), or null where it is the code itself
  int scale_low, scale_high;
  int minimum_low, minimum_high;  ///< both 0: the type has no minimum
  std::vector<float> products;    ///< distinct |group_scale * difference of levels|, descending, padded to 16 with 1

  int groups() const { return values / group; }
  bool has_minimum() const { return minimum_high > 0; }
  int level(int code) const { return codebook != nullptr ? codebook[code] : code; }
};

/// Fills in `products`.
Grid make_grid(Grid grid);

template <class Layout>
const Grid& grid_of() {
  static const Grid grid = [] {
    const std::int8_t* codebook = nullptr;
    if constexpr (requires { Layout::kCodebook; }) codebook = Layout::kCodebook;
    return make_grid({Layout::kValues,
                      Layout::kGroup,
                      Layout::kCodeLow,
                      Layout::kCodeHigh,
                      codebook,
                      Layout::kScaleLow,
                      Layout::kScaleHigh,
                      Layout::kMinimumLow,
                      Layout::kMinimumHigh,
                      {}});
  }();
  return grid;
}

}  // namespace kinglet
