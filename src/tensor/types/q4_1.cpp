// Q4_1: 32 values, an f16 scale, an f16 offset that is added, 4-bit codes.
#include "kinglet/block_type.h"
#include "tensor/quantize/encode_minimums.h"
#include "tensor/quantize/minimum_layouts.h"
#include "tensor/quantize/nibbles.h"
#include "tensor/quantize/unpack.h"

namespace kinglet {
namespace {

struct Layout : Float16Minimum {
  static constexpr int kBytes = 20, kCodeLow = 0, kCodeHigh = 15;

  static void unpack(const std::uint8_t* block, std::int8_t* codes, float* scales, float* minimums) {
    unpack_scale(block, scales, minimums);
    unpack_nibbles(block + 4, 16, codes);
  }

  static void pack(const BlockFields& fields, std::uint8_t* block) {
    pack_scale(fields, block);
    pack_nibbles(fields.codes, 16, block + 4);
  }
};

}  // namespace

extern const BlockType block_type_q4_1;
const BlockType block_type_q4_1 = {
    .name = "Q4_1",
    .gguf_id = 3,
    .block_values = Layout::kValues,
    .block_bytes = Layout::kBytes,
    .form = {.bits = 4,
             .group = Layout::kGroup,
             .is_signed = false,
             .has_minimum = Layout::kHasMinimum,
             .codebook = nullptr,
             .scales = ScaleForm::kFloat16},
    .decode = decode_blocks<Layout>,
    .codes = unpack_blocks<Layout>,
    .encode = MinimumEncoder<Layout, LinearLevels<0, 15>>::encode,
};

}  // namespace kinglet
