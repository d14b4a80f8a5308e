// Q3_K: 256 values in groups of 16; each group's 6-bit signed scale multiplies an f16 number; 3-bit signed codes whose
// upper bits lie apart (a clear bit means 4 less).
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
  static constexpr int kValues = 256, kBytes = 110, kGroup = 16;
  static constexpr bool kHasMinimum = false;
  static constexpr int kCodeLow = -4, kCodeHigh = 3, kScaleLow = -32, kScaleHigh = 31;
  static constexpr int kMinimumLow = 0, kMinimumHigh = 0;
  static constexpr auto kTargets = step_targets<12, 9>(-4.7f, 3.7f, 0.2f);
  static constexpr int kRefinements = 2;
  static constexpr int kScaleTries = 3, kScaleCandidates = 24;
  static constexpr float kScaleSpacing = 0.5f;

  static void factors(const std::uint8_t* block, float* unit, float*, std::int8_t* scales, std::int8_t*) {
    *unit = load_f16(block + 108);
    for (int group = 0; group < 16; ++group) scales[group] = static_cast<std::int8_t>(group_scale(block + 96, group));
  }

  static void unpack(const std::uint8_t* block, std::int8_t* codes, float* scales, float*) {
    const float scale = load_f16(block + 108);
    for (int group = 0; group < 16; ++group) scales[group] = scale * static_cast<float>(group_scale(block + 96, group));
    unpack_pairs(block + 32, codes);
    for (int i = 0; i < kValues; ++i) {
      if ((block[i % 32] >> (i / 32) & 1) == 0) codes[i] = static_cast<std::int8_t>(codes[i] - 4);
    }
  }

  static int group_scale(const std::uint8_t* bytes, int group) {
    const int low = group < 8 ? bytes[group] & 15 : bytes[group - 8] >> 4;
    const int high = bytes[8 + group % 4] >> (group / 4 * 2) & 3;
    return (low | high << 4) - 32;
  }

  static void pack(const BlockFields& fields, std::uint8_t* block) {
    std::memset(block, 0, kBytes);
    for (int i = 0; i < kValues; ++i) {
      if (fields.codes[i] >= 0) block[i % 32] |= static_cast<std::uint8_t>(1 << (i / 32));
    }
    pack_pairs(fields.codes, block + 32);  // -4 and 0 share their lower two bits
    for (int group = 0; group < 16; ++group) {
      const int stored = fields.group_scale[group] + 32;
      block[96 + group % 8] |= static_cast<std::uint8_t>((stored & 15) << (group / 8 * 4));
      block[104 + group % 4] |= static_cast<std::uint8_t>(stored >> 4 << (group / 4 * 2));
    }
    store_u16(block + 108, fields.scale);
  }
};

}  // namespace

extern const BlockType block_type_q3_k;
const BlockType block_type_q3_k = {
    .name = "Q3_K",
    .gguf_id = 11,
    .block_values = Layout::kValues,
    .block_bytes = Layout::kBytes,
    .form = {.bits = 3,
             .group = Layout::kGroup,
             .is_signed = true,
             .has_minimum = Layout::kHasMinimum,
             .codebook = nullptr,
             .scales = ScaleForm::kMultiples},
    .decode = decode_blocks<Layout>,
    .codes = unpack_blocks<Layout>,
    .multiples = block_multiples<Layout>,
    .encode = ScaleEncoder<Layout, LinearLevels<-4, 3>>::encode,
};

}  // namespace kinglet
