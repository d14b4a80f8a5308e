// Q6_K: 256 values in groups of 16; each group's 8-bit signed scale multiplies an f16 number; 6-bit codes stored with
// 32 added, their lower 4 bits and their upper 2 bits apart.
#include "kinglet/block_type.h"
#include "tensor/quantize/bytes.h"
#include "tensor/quantize/encode_scales.h"
#include "tensor/quantize/multiples.h"
#include "tensor/quantize/nibbles.h"
#include "tensor/quantize/targets.h"
#include "tensor/quantize/unpack.h"

namespace kinglet {
namespace {

struct Layout {
  static constexpr int kValues = 256, kBytes = 210, kGroup = 16;
  static constexpr bool kHasMinimum = false;
  static constexpr int kCodeLow = -32, kCodeHigh = 31, kScaleLow = -128, kScaleHigh = 127;
  static constexpr int kMinimumLow = 0, kMinimumHigh = 0;
  static constexpr auto kTargets = step_targets<16, 14>(-33.0f, 32.0f, 0.7f);
  static constexpr int kRefinements = 2;
  static constexpr int kScaleTries = 2, kScaleCandidates = 8;
  static constexpr float kScaleSpacing = 0.5f;

  static void factors(const std::uint8_t* block, float* unit, float*, std::int8_t* scales, std::int8_t*) {
    *unit = load_f16(block + 208);
    for (int group = 0; group < 16; ++group) scales[group] = static_cast<std::int8_t>(block[192 + group]);
  }

  static void unpack(const std::uint8_t* block, std::int8_t* codes, float* scales, float*) {
    const float scale = load_f16(block + 208);
    for (int group = 0; group < 16; ++group) {
      scales[group] = scale * static_cast<float>(static_cast<std::int8_t>(block[192 + group]));
    }
    unpack_nibbles(block, 64, codes);
    unpack_nibbles(block + 64, 64, codes + 128);
    std::int8_t high[kValues];
    unpack_pairs(block + 128, high);
    for (int i = 0; i < kValues; ++i) codes[i] = static_cast<std::int8_t>((codes[i] | high[i] << 4) - 32);
  }

  static void pack(const BlockFields& fields, std::uint8_t* block) {
    std::int8_t codes[kValues], high[kValues];
    for (int i = 0; i < kValues; ++i) {
      codes[i] = static_cast<std::int8_t>(fields.codes[i] + 32);
      high[i] = static_cast<std::int8_t>(codes[i] >> 4);
    }
    pack_nibbles(codes, 64, block);
    pack_nibbles(codes + 128, 64, block + 64);
    pack_pairs(high, block + 128);
    std::memcpy(block + 192, fields.group_scale, 16);
    store_u16(block + 208, fields.scale);
  }
};

}  // namespace

extern const BlockType block_type_q6_k;
const BlockType block_type_q6_k = {
    .name = "Q6_K",
    .gguf_id = 14,
    .block_values = Layout::kValues,
    .block_bytes = Layout::kBytes,
    .form = {.bits = 6,
             .group = Layout::kGroup,
             .is_signed = true,
             .has_minimum = Layout::kHasMinimum,
             .codebook = nullptr,
             .scales = ScaleForm::kMultiples},
    .decode = decode_blocks<Layout>,
    .codes = unpack_blocks<Layout>,
    .multiples = block_multiples<Layout>,
    .encode = ScaleEncoder<Layout, LinearLevels<-32, 31>>::encode,
};

}  // namespace kinglet
