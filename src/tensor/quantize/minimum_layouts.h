// What block types with a scale and a minimum share, for their Layout to inherit.
#pragma once

#include <cstdint>

#include "tensor/quantize/bytes.h"
#include "tensor/quantize/encode_minimums.h"
#include "tensor/quantize/nibbles.h"

namespace kinglet {

/// Q4_1 and Q5_1: one group of 32, an f16 scale, and an f16 offset that is added (the minimum with its sign turned).
struct Float16Minimum {
  static constexpr int kValues = 32, kGroup = 32;
  static constexpr bool kHasMinimum = true;
  static constexpr int kScaleLow = 1, kScaleHigh = 1, kMinimumLow = 1, kMinimumHigh = 1;
  static constexpr float kMargins[] = {-0.6f, -0.2f, 0.2f, 0.6f, 1.0f, 1.4f};
  static constexpr int kRefinements = 2;

  static void unpack_scale(const std::uint8_t* block, float* scales, float* minimums) {
    scales[0] = load_f16(block);
    minimums[0] = -load_f16(block + 2);
  }
  static void pack_scale(const BlockFields& fields, std::uint8_t* block) {
    store_u16(block, fields.scale);
    store_u16(block + 2, fields.minimum ^ 0x8000);
  }
};

/// Q4_K and Q5_K: eight groups of 32, whose 6-bit scales and 6-bit minimums (12 bytes from byte 4) multiply two f16
/// numbers (bytes 0 and 2).
struct SixBitMinimums {
  static constexpr int kValues = 256, kGroup = 32;
  static constexpr bool kHasMinimum = true;
  static constexpr int kScaleLow = 0, kScaleHigh = 63, kMinimumLow = 0, kMinimumHigh = 63;
  static constexpr float kMargins[] = {-0.6f, -0.2f, 0.2f, 0.6f, 1.0f};
  static constexpr int kRefinements = 2;
  static constexpr int kScaleTries = 2, kScaleCandidates = 4;
  static constexpr float kScaleSpacing = 0.5f;
  static constexpr float kScaleOver = 0.5f;

  static void factors(const std::uint8_t* block, float* unit, float* minimum_unit, std::int8_t* scales,
                      std::int8_t* minimums) {
    *unit = load_f16(block);
    *minimum_unit = load_f16(block + 2);
    std::uint8_t group_scales[8], group_minimums[8];
    unpack_six_bits(block + 4, group_scales, group_minimums);
    for (int group = 0; group < 8; ++group) {
      scales[group] = static_cast<std::int8_t>(group_scales[group]);
      minimums[group] = static_cast<std::int8_t>(group_minimums[group]);
    }
  }
  static void unpack_scales(const std::uint8_t* block, float* scales, float* minimums) {
    const float scale = load_f16(block), minimum = load_f16(block + 2);
    std::uint8_t group_scales[8], group_minimums[8];
    unpack_six_bits(block + 4, group_scales, group_minimums);
    for (int group = 0; group < 8; ++group) {
      scales[group] = scale * static_cast<float>(group_scales[group]);
      minimums[group] = minimum * static_cast<float>(group_minimums[group]);
    }
  }
  static void pack_scales(const BlockFields& fields, std::uint8_t* block) {
    store_u16(block, fields.scale);
    store_u16(block + 2, fields.minimum);
    std::uint8_t scales[8], minimums[8];
    for (int group = 0; group < 8; ++group) {
      scales[group] = static_cast<std::uint8_t>(fields.group_scale[group]);
      minimums[group] = static_cast<std::uint8_t>(fields.group_minimum[group]);
    }
    pack_six_bits(scales, minimums, block + 4);
  }
};

}  // namespace kinglet
