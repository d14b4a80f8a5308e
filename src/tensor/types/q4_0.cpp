// Q4_0: 32 values, an f16 scale, 4-bit codes stored with 8 added.
#include "kinglet/block_type.h"
#include "tensor/quantize/bytes.h"
#include "tensor/quantize/encode_scales.h"
#include "tensor/quantize/nibbles.h"
#include "tensor/quantize/targets.h"
#include "tensor/quantize/unpack.h"

namespace kinglet {
namespace {

struct Layout {
  static constexpr int kValues = 32, kBytes = 18, kGroup = 32;
  static constexpr bool kHasMinimum = false;
  static constexpr int kCodeLow = -8, kCodeHigh = 7, kScaleLow = 1, kScaleHigh = 1;
  static constexpr int kMinimumLow = 0, kMinimumHigh = 0;
  static constexpr auto kTargets = step_targets<13, 13>(-9.0f, 8.0f, 0.2f);
  static constexpr int kRefinements = 2;

  static void unpack(const std::uint8_t* block, std::int8_t* codes, float* scales, float*) {
    scales[0] = load_f16(block);
    unpack_nibbles(block + 2, 16, codes);
    for (int i = 0; i < kValues; ++i) codes[i] = static_cast<std::int8_t>(codes[i] - 8);
  }

  static void pack(const BlockFields& fields, std::uint8_t* block) {
    store_u16(block, fields.scale);
    std::int8_t codes[kValues];
    for (int i = 0; i < kValues; ++i) codes[i] = static_cast<std::int8_t>(fields.codes[i] + 8);
    pack_nibbles(codes, 16, block + 2);
  }
};

}  // namespace

extern const BlockType block_type_q4_0;
const BlockType block_type_q4_0 = {
    .name = "Q4_0",
    .gguf_id = 2,
    .block_values = Layout::kValues,
    .block_bytes = Layout::kBytes,
    .form = {.bits = 4,
             .group = Layout::kGroup,
             .is_signed = true,
             .has_minimum = Layout::kHasMinimum,
             .codebook = nullptr,
             .scales = ScaleForm::kFloat16},
    .decode = decode_blocks<Layout>,
    .codes = unpack_blocks<Layout>,
    .encode = ScaleEncoder<Layout, LinearLevels<-8, 7>>::encode,
};

}  // namespace kinglet
