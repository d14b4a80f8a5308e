// Q5_0: 32 values, an f16 scale, 5-bit codes stored with 16 added; bit i of a word is the fifth of value i.
#include "kinglet/block_type.h"
#include "tensor/quantize/bytes.h"
#include "tensor/quantize/encode_scales.h"
#include "tensor/quantize/nibbles.h"
#include "tensor/quantize/targets.h"
#include "tensor/quantize/unpack.h"

namespace kinglet {
namespace {

struct Layout {
  static constexpr int kValues = 32, kBytes = 22, kGroup = 32;
  static constexpr bool kHasMinimum = false;
  static constexpr int kCodeLow = -16, kCodeHigh = 15, kScaleLow = 1, kScaleHigh = 1;
  static constexpr int kMinimumLow = 0, kMinimumHigh = 0;
  static constexpr auto kTargets = step_targets<12, 12>(-16.6f, 15.6f, 0.3f);
  static constexpr int kRefinements = 2;

  static void unpack(const std::uint8_t* block, std::int8_t* codes, float* scales, float*) {
    scales[0] = load_f16(block);
    const std::uint32_t high = load_u32(block + 2);
    unpack_nibbles(block + 6, 16, codes);
    for (int i = 0; i < kValues; ++i) codes[i] = static_cast<std::int8_t>((codes[i] | (high >> i & 1) << 4) - 16);
  }

  static void pack(const BlockFields& fields, std::uint8_t* block) {
    store_u16(block, fields.scale);
    std::int8_t codes[kValues];
    std::uint32_t high = 0;
    for (int i = 0; i < kValues; ++i) {
      codes[i] = static_cast<std::int8_t>(fields.codes[i] + 16);
      high |= static_cast<std::uint32_t>(codes[i] >> 4) << i;
    }
    store_u32(block + 2, high);
    pack_nibbles(codes, 16, block + 6);
  }
};

}  // namespace

extern const BlockType block_type_q5_0;
const BlockType block_type_q5_0 = {
    .name = "Q5_0",
    .gguf_id = 6,
    .block_values = Layout::kValues,
    .block_bytes = Layout::kBytes,
    .form = {.bits = 5,
             .group = Layout::kGroup,
             .is_signed = true,
             .has_minimum = Layout::kHasMinimum,
             .codebook = nullptr,
             .scales = ScaleForm::kFloat16},
    .decode = decode_blocks<Layout>,
    .codes = unpack_blocks<Layout>,
    .encode = ScaleEncoder<Layout, LinearLevels<-16, 15>>::encode,
};

}  // namespace kinglet
