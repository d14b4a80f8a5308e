// Q5_K: Q4_K with a fifth bit for each code: bit g of byte i belongs to value i of group g.
#include "kinglet/block_type.h"
#include "tensor/quantize/encode_minimums.h"
#include "tensor/quantize/minimum_layouts.h"
#include "tensor/quantize/multiples.h"
#include "tensor/quantize/nibbles.h"
#include "tensor/quantize/unpack.h"

namespace kinglet {
namespace {

struct Layout : SixBitMinimums {
  static constexpr int kBytes = 176, kCodeLow = 0, kCodeHigh = 31;

  static void unpack(const std::uint8_t* block, std::int8_t* codes, float* scales, float* minimums) {
    unpack_scales(block, scales, minimums);
    for (int pair = 0; pair < 4; ++pair) unpack_nibbles(block + 48 + pair * 32, 32, codes + pair * 64);
    for (int i = 0; i < kValues; ++i) {
      codes[i] = static_cast<std::int8_t>(codes[i] | (block[16 + i % 32] >> (i / 32) & 1) << 4);
    }
  }

  static void pack(const BlockFields& fields, std::uint8_t* block) {
    pack_scales(fields, block);
    std::memset(block + 16, 0, 32);
    for (int i = 0; i < kValues; ++i) {
      block[16 + i % 32] |= static_cast<std::uint8_t>(fields.codes[i] >> 4 << (i / 32));
    }
    for (int pair = 0; pair < 4; ++pair) pack_nibbles(fields.codes + pair * 64, 32, block + 48 + pair * 32);
  }
};

}  // namespace

extern const BlockType block_type_q5_k;
const BlockType block_type_q5_k = {
    .name = "Q5_K",
    .gguf_id = 13,
    .block_values = Layout::kValues,
    .block_bytes = Layout::kBytes,
    .form = {.bits = 5,
             .group = Layout::kGroup,
             .is_signed = false,
             .has_minimum = Layout::kHasMinimum,
             .codebook = nullptr,
             .scales = ScaleForm::kMultiples},
    .decode = decode_blocks<Layout>,
    .codes = unpack_blocks<Layout>,
    .multiples = block_multiples<Layout>,
    .encode = MinimumEncoder<Layout, LinearLevels<0, 31>>::encode,
};

}  // namespace kinglet
