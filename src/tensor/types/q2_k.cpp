// Q2_K: 256 values in groups of 16; each group's 4-bit scale and 4-bit minimum multiply two f16 numbers; 2-bit codes.
#include "kinglet/block_type.h"
#include "tensor/quantize/bytes.h"
#include "tensor/quantize/encode_minimums.h"
#include "tensor/quantize/multiples.h"
#include "tensor/quantize/nibbles.h"
#include "tensor/quantize/unpack.h"

namespace kinglet {
namespace {

struct Layout {
  static constexpr int kValues = 256, kBytes = 84, kGroup = 16;
  static constexpr bool kHasMinimum = true;
  static constexpr int kCodeLow = 0, kCodeHigh = 3, kScaleLow = 0, kScaleHigh = 15;
  static constexpr int kMinimumLow = 0, kMinimumHigh = 15;
  static constexpr float kMargins[] = {-0.5f, -0.25f, 0.0f, 0.25f};
  static constexpr int kRefinements = 2;
  static constexpr int kScaleTries = 3, kScaleCandidates = 8;
  static constexpr float kScaleSpacing = 0.5f;
  static constexpr float kScaleOver = 0.5f;

  static void factors(const std::uint8_t* block, float* unit, float* minimum_unit, std::int8_t* scales,
                      std::int8_t* minimums) {
    *unit = load_f16(block + 80);
    *minimum_unit = load_f16(block + 82);
    for (int group = 0; group < 16; ++group) {
      scales[group] = static_cast<std::int8_t>(block[group] & 15);
      minimums[group] = static_cast<std::int8_t>(block[group] >> 4);
    }
  }

  static void unpack(const std::uint8_t* block, std::int8_t* codes, float* scales, float* minimums) {
    const float scale = load_f16(block + 80), minimum = load_f16(block + 82);
    for (int group = 0; group < 16; ++group) {
      scales[group] = scale * static_cast<float>(block[group] & 15);
      minimums[group] = minimum * static_cast<float>(block[group] >> 4);
    }
    unpack_pairs(block + 16, codes);
  }

  static void pack(const BlockFields& fields, std::uint8_t* block) {
    for (int group = 0; group < 16; ++group) {
      block[group] = static_cast<std::uint8_t>(fields.group_scale[group] | fields.group_minimum[group] << 4);
    }
    pack_pairs(fields.codes, block + 16);
    store_u16(block + 80, fields.scale);
    store_u16(block + 82, fields.minimum);
  }
};

}  // namespace

extern const BlockType block_type_q2_k;
const BlockType block_type_q2_k = {
    .name = "Q2_K",
    .gguf_id = 10,
    .block_values = Layout::kValues,
    .block_bytes = Layout::kBytes,
    .form = {.bits = 2,
             .group = Layout::kGroup,
             .is_signed = false,
             .has_minimum = Layout::kHasMinimum,
             .codebook = nullptr,
             .scales = ScaleForm::kMultiples},
    .decode = decode_blocks<Layout>,
    .codes = unpack_blocks<Layout>,
    .multiples = block_multiples<Layout>,
    .encode = MinimumEncoder<Layout, LinearLevels<0, 3>>::encode,
};

}  // namespace kinglet
