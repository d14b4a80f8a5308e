// Kinglet's own types U1..U4: k-bit codes on an even grid without a level at zero, the odd integers from -(2^k - 1) to
// 2^k - 1, with an f16 scale for 32 values. A code is a sum over its bits: 2 u - (2^k - 1) = sum of 2^b s_b, where s_b
// is 1 where bit b of u is set and -1 otherwise, so that products can be looked up bit plane by bit plane
// (tensor/kernels/lookup.h), and one bit is a sign.
//
// A block has 32 values: an f16 scale, then for each bit b, lowest first, 4 bytes; bit j of byte i is bit b of the code
// u of value 4 j + i.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "kinglet/block_type.h"
#include "tensor/quantize/bytes.h"
#include "tensor/quantize/encode_scales.h"
#include "tensor/quantize/targets.h"
#include "tensor/quantize/unpack.h"

namespace kinglet {

/// Level of each code u.
template <int Bits>
constexpr std::array<std::int8_t, 1 << Bits> uniform_levels() {
  std::array<std::int8_t, 1 << Bits> levels{};
  for (int u = 0; u < 1 << Bits; ++u)
    levels[static_cast<std::size_t>(u)] = static_cast<std::int8_t>(2 * u + 1 - (1 << Bits));
  return levels;
}
template <int Bits>
inline constexpr std::array<std::int8_t, 1 << Bits> kUniformLevels = uniform_levels<Bits>();

template <int Bits>
struct UniformLevels {
  static constexpr int kHighest = (1 << Bits) - 1;
  static constexpr float kMost = kHighest;
  KINGLET_INLINE static void nearest(Lanes& value) {
    value = (value - 1.0f) * 0.5f;
    clamp_lanes(value, -(1 << (Bits - 1)), (1 << (Bits - 1)) - 1);
    round_lanes(value);
    value = value * 2.0f + 1.0f;
  }
  static std::int8_t code(float level) { return static_cast<std::int8_t>((static_cast<int>(level) + kHighest) / 2); }
};

template <int Bits>
struct UniformLayout {
  static constexpr int kValues = 32, kBytes = 2 + 4 * Bits, kGroup = 32;
  static constexpr bool kHasMinimum = false;
  static constexpr int kCodeLow = 0, kCodeHigh = (1 << Bits) - 1, kScaleLow = 1, kScaleHigh = 1;
  static constexpr int kMinimumLow = 0, kMinimumHigh = 0;
  /// From the largest value on the end of the range (or beyond it, cut off) to well inside.
  static constexpr int kTries = 16;
  static constexpr auto kTargets = step_targets<0, kTries>(0, 2.2f * kCodeHigh, 1.4f * kCodeHigh / kTries);
  static constexpr int kRefinements = 3;
  static constexpr const std::int8_t* kCodebook = kUniformLevels<Bits>.data();

  static void unpack(const std::uint8_t* block, std::int8_t* codes, float* scales, float*) {
    scales[0] = load_f16(block);
    for (int value = 0; value < kValues; ++value) {
      unsigned code = 0;
      for (int b = 0; b < Bits; ++b) code |= (block[2 + 4 * b + value % 4] >> (value / 4) & 1u) << b;
      codes[value] = static_cast<std::int8_t>(code);
    }
  }

  static void pack(const BlockFields& fields, std::uint8_t* block) {
    store_u16(block, fields.scale);
    for (int at = 0; at < 4 * Bits; ++at) {
      unsigned bits = 0;
      for (int j = 0; j < 8; ++j) bits |= (static_cast<unsigned>(fields.codes[4 * j + at % 4]) >> (at / 4) & 1u) << j;
      block[2 + at] = static_cast<std::uint8_t>(bits);
    }
  }
};

template <int Bits>
constexpr BlockType make_uniform_type(std::string_view name) {
  using Layout = UniformLayout<Bits>;
  BlockType type;
  type.name = name;
  type.gguf_id = 0x4B550000u + Bits;  // ggml has no number for it: any that it will not use
  type.block_values = Layout::kValues;
  type.block_bytes = Layout::kBytes;
  type.form.bits = Bits;
  type.form.group = Layout::kGroup;
  type.form.codebook = Layout::kCodebook;
  type.form.scales = ScaleForm::kFloat16;
  type.decode = decode_blocks<Layout>;
  type.codes = unpack_blocks<Layout>;
  type.encode = ScaleEncoder<Layout, UniformLevels<Bits>>::encode;
  type.is_native = true;
  type.paper = "090";
  type.help = "Bit planes on an even grid, multiplied by table look-up where that is faster";
  return type;
}

}  // namespace kinglet
