// IQ4_NL: 32 values, an f16 scale, 4-bit indices into 16 fixed levels.
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
  static constexpr int kCodeLow = 0, kCodeHigh = 15, kScaleLow = 1, kScaleHigh = 1;
  static constexpr int kMinimumLow = 0, kMinimumHigh = 0;
  static constexpr auto kTargets = step_targets<11, 11>(-135.0f, 121.0f, 4.0f);
  static constexpr int kRefinements = 2;
  static constexpr const std::int8_t* kCodebook = kNonLinear16;

  static void unpack(const std::uint8_t* block, std::int8_t* codes, float* scales, float*) {
    scales[0] = load_f16(block);
    unpack_nibbles(block + 2, 16, codes);
  }

  static void pack(const BlockFields& fields, std::uint8_t* block) {
    store_u16(block, fields.scale);
    pack_nibbles(fields.codes, 16, block + 2);
  }
};

}  // namespace

extern const BlockType block_type_iq4_nl;
const BlockType block_type_iq4_nl = {
    .name = "IQ4_NL",
    .gguf_id = 20,
    .block_values = Layout::kValues,
    .block_bytes = Layout::kBytes,
    .form = {.bits = 4,
             .group = Layout::kGroup,
             .is_signed = false,
             .has_minimum = Layout::kHasMinimum,
             .codebook = kNonLinear16,
             .scales = ScaleForm::kFloat16},
    .decode = decode_blocks<Layout>,
    .codes = unpack_blocks<Layout>,
    .encode = ScaleEncoder<Layout, NonLinearLevels>::encode,
};

}  // namespace kinglet
