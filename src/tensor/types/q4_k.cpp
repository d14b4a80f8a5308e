// Q4_K: 256 values in groups of 32; each group's 6-bit scale and 6-bit minimum multiply two f16 numbers; 4-bit codes.
#include "kinglet/block_type.h"
#include "tensor/quantize/encode_minimums.h"
#include "tensor/quantize/minimum_layouts.h"
#include "tensor/quantize/multiples.h"
#include "tensor/quantize/nibbles.h"
#include "tensor/quantize/unpack.h"

namespace kinglet {
namespace {

struct Layout : SixBitMinimums {
  static constexpr int kBytes = 144, kCodeLow = 0, kCodeHigh = 15;

  static void unpack(const std::uint8_t* block, std::int8_t* codes, float* scales, float* minimums) {
    unpack_scales(block, scales, minimums);
    for (int pair = 0; pair < 4; ++pair) unpack_nibbles(block + 16 + pair * 32, 32, codes + pair * 64);
  }

  static void pack(const BlockFields& fields, std::uint8_t* block) {
    pack_scales(fields, block);
    for (int pair = 0; pair < 4; ++pair) pack_nibbles(fields.codes + pair * 64, 32, block + 16 + pair * 32);
  }
};

}  // namespace

extern const BlockType block_type_q4_k;
const BlockType block_type_q4_k = {
    .name = "Q4_K",
    .gguf_id = 12,
    .block_values = Layout::kValues,
    .block_bytes = Layout::kBytes,
    .form = {.bits = 4,
             .group = Layout::kGroup,
             .is_signed = false,
             .has_minimum = Layout::kHasMinimum,
             .codebook = nullptr,
             .scales = ScaleForm::kMultiples},
    .decode = decode_blocks<Layout>,
    .codes = unpack_blocks<Layout>,
    .multiples = block_multiples<Layout>,
    .encode = MinimumEncoder<Layout, LinearLevels<0, 15>>::encode,
};

}  // namespace kinglet
