// Q5_K: Q4_K with a fifth bit for each code: bit g of byte i belongs to value i of group g.
#include "kinglet/block_type.h"
#include "tensor/quantize/bytes.h"
#include "tensor/quantize/encode_minimums.h"
#include "tensor/quantize/multiples.h"
#include "tensor/quantize/nibbles.h"
#include "tensor/quantize/unpack.h"

namespace kinglet {
namespace {

struct Layout {
  static constexpr int kValues = 256, kBytes = 176, kGroup = 32;
  static constexpr bool kHasMinimum = true;
  static constexpr int kCodeLow = 0, kCodeHigh = 31, kScaleLow = 0, kScaleHigh = 63;
  static constexpr int kMinimumLow = 0, kMinimumHigh = 63;
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

  static void unpack(const std::uint8_t* block, std::int8_t* codes, float* scales, float* minimums) {
    const float scale = load_f16(block), minimum = load_f16(block + 2);
    std::uint8_t group_scales[8], group_minimums[8];
    unpack_six_bits(block + 4, group_scales, group_minimums);
    for (int group = 0; group < 8; ++group) {
      scales[group] = scale * static_cast<float>(group_scales[group]);
      minimums[group] = minimum * static_cast<float>(group_minimums[group]);
    }
    for (int pair = 0; pair < 4; ++pair) unpack_nibbles(block + 48 + pair * 32, 32, codes + pair * 64);
    for (int i = 0; i < kValues; ++i) {
      codes[i] = static_cast<std::int8_t>(codes[i] | (block[16 + i % 32] >> (i / 32) & 1) << 4);
    }
  }

  static void pack(const BlockFields& fields, std::uint8_t* block) {
    store_u16(block, fields.scale);
    store_u16(block + 2, fields.minimum);
    std::uint8_t scales[8], minimums[8];
    for (int group = 0; group < 8; ++group) {
      scales[group] = static_cast<std::uint8_t>(fields.group_scale[group]);
      minimums[group] = static_cast<std::uint8_t>(fields.group_minimum[group]);
    }
    pack_six_bits(scales, minimums, block + 4);
    std::memset(block + 16, 0, 32);
    for (int i = 0; i < kValues; ++i) {
      block[16 + i % 32] |= static_cast<std::uint8_t>(fields.codes[i] >> 4 << (i / 32));
    }
    for (int pair = 0; pair < 4; ++pair) pack_nibbles(fields.codes + pair * 64, 32, block + 48 + pair * 32);
  }
};

}  // namespace

extern const BlockType block_type_q5_k;
const BlockType block_type_q5_k = {
    .name = "Q5_K",
    .gguf_id = 13,
    .block_values = Layout::kValues,
    .block_bytes = Layout::kBytes,
    .form = {.bits = 5,
             .group = Layout::kGroup,
             .is_signed = false,
             .has_minimum = Layout::kHasMinimum,
             .codebook = nullptr,
             .scales = ScaleForm::kMultiples},
    .decode = decode_blocks<Layout>,
    .codes = unpack_blocks<Layout>,
    .multiples = block_multiples<Layout>,
    .encode = MinimumEncoder<Layout, LinearLevels<0, 31>>::encode,
};

}  // namespace kinglet
