// IQ4_XS: 256 values in groups of 32; each group's 6-bit signed scale multiplies an f16 number; 4-bit indices into the
// 16 levels of IQ4_NL.
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
  static constexpr int kValues = 256, kBytes = 136, kGroup = 32;
  static constexpr bool kHasMinimum = false;
  static constexpr int kCodeLow = 0, kCodeHigh = 15, kScaleLow = -32, kScaleHigh = 31;
  static constexpr int kMinimumLow = 0, kMinimumHigh = 0;
  static constexpr auto kTargets = step_targets<11, 11>(-135.0f, 121.0f, 4.0f);
  static constexpr int kRefinements = 2;
  static constexpr int kScaleTries = 2, kScaleCandidates = 16;
  static constexpr float kScaleSpacing = 0.5f;
  static constexpr const std::int8_t* kCodebook = kNonLinear16;

  static void factors(const std::uint8_t* block, float* unit, float*, std::int8_t* scales, std::int8_t*) {
    *unit = load_f16(block);
    const unsigned high = load_u16(block + 2);
    for (int group = 0; group < 8; ++group) {
      const int low = block[4 + group / 2] >> (group % 2 * 4) & 15;
      scales[group] = static_cast<std::int8_t>((low | (high >> (group * 2) & 3) << 4) - 32);
    }
  }

  static void unpack(const std::uint8_t* block, std::int8_t* codes, float* scales, float*) {
    const float scale = load_f16(block);
    const int high = load_u16(block + 2);
    for (int group = 0; group < 8; ++group) {
      const int low = block[4 + group / 2] >> (group % 2 * 4) & 15;
      scales[group] = scale * static_cast<float>((low | (high >> (group * 2) & 3) << 4) - 32);
      unpack_nibbles(block + 8 + group * 16, 16, codes + group * 32);
    }
  }

  static void pack(const BlockFields& fields, std::uint8_t* block) {
    store_u16(block, fields.scale);
    unsigned high = 0;
    std::memset(block + 4, 0, 4);
    for (int group = 0; group < 8; ++group) {
      const int stored = fields.group_scale[group] + 32;
      block[4 + group / 2] |= static_cast<std::uint8_t>((stored & 15) << (group % 2 * 4));
      high |= static_cast<unsigned>(stored >> 4) << (group * 2);
      pack_nibbles(fields.codes + group * 32, 16, block + 8 + group * 16);
    }
    store_u16(block + 2, static_cast<std::uint16_t>(high));
  }
};

}  // namespace

extern const BlockType block_type_iq4_xs;
const BlockType block_type_iq4_xs = {
    .name = "IQ4_XS",
    .gguf_id = 23,
    .block_values = Layout::kValues,
    .block_bytes = Layout::kBytes,
    .form = {.bits = 4,
             .group = Layout::kGroup,
             .is_signed = false,
             .has_minimum = Layout::kHasMinimum,
             .codebook = kNonLinear16,
             .scales = ScaleForm::kMultiples},
    .decode = decode_blocks<Layout>,
    .codes = unpack_blocks<Layout>,
    .multiples = block_multiples<Layout>,
    .encode = ScaleEncoder<Layout, NonLinearLevels>::encode,
};

}  // namespace kinglet
