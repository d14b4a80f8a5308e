// Q8_0: 32 values, an f16 scale, 8-bit codes.
#include "kinglet/block_type.h"
#include "tensor/quantize/bytes.h"
#include "tensor/quantize/encode_scales.h"
#include "tensor/quantize/nibbles.h"
#include "tensor/quantize/targets.h"
#include "tensor/quantize/unpack.h"

namespace kinglet {
namespace {

struct Layout {
  static constexpr int kValues = 32, kBytes = 34, kGroup = 32;
  static constexpr bool kHasMinimum = false;
  static constexpr int kCodeLow = -128, kCodeHigh = 127, kScaleLow = 1, kScaleHigh = 1;
  static constexpr int kMinimumLow = 0, kMinimumHigh = 0;
  static constexpr auto kTargets = step_targets<20, 18>(-129.0f, 128.0f, 1.0f);
  static constexpr int kRefinements = 2;

  static void unpack(const std::uint8_t* block, std::int8_t* codes, float* scales, float*) {
    scales[0] = load_f16(block);
    std::memcpy(codes, block + 2, kValues);
  }

  static void pack(const BlockFields& fields, std::uint8_t* block) {
    store_u16(block, fields.scale);
    std::memcpy(block + 2, fields.codes, kValues);
  }
};

}  // namespace

extern const BlockType block_type_q8_0;
const BlockType block_type_q8_0 = {
    .name = "Q8_0",
    .gguf_id = 8,
    .block_values = Layout::kValues,
    .block_bytes = Layout::kBytes,
    .form = {.bits = 8,
             .group = Layout::kGroup,
             .is_signed = true,
             .has_minimum = Layout::kHasMinimum,
             .codebook = nullptr,
             .scales = ScaleForm::kFloat16},
    .decode = decode_blocks<Layout>,
    .codes = unpack_blocks<Layout>,
    .encode = ScaleEncoder<Layout, LinearLevels<-128, 127>>::encode,
};

}  // namespace kinglet
