// Q5_1: 32 values, an f16 scale, an f16 offset that is added, 5-bit codes as in Q5_0.
#include "kinglet/block_type.h"
#include "tensor/quantize/bytes.h"
#include "tensor/quantize/encode_minimums.h"
#include "tensor/quantize/minimum_layouts.h"
#include "tensor/quantize/nibbles.h"
#include "tensor/quantize/unpack.h"

namespace kinglet {
namespace {

struct Layout : Float16Minimum {
  static constexpr int kBytes = 24, kCodeLow = 0, kCodeHigh = 31;

  static void unpack(const std::uint8_t* block, std::int8_t* codes, float* scales, float* minimums) {
    unpack_scale(block, scales, minimums);
    const std::uint32_t high = load_u32(block + 4);
    unpack_nibbles(block + 8, 16, codes);
    for (int i = 0; i < kValues; ++i) codes[i] = static_cast<std::int8_t>(codes[i] | (high >> i & 1) << 4);
  }

  static void pack(const BlockFields& fields, std::uint8_t* block) {
    pack_scale(fields, block);
    std::uint32_t high = 0;
    for (int i = 0; i < kValues; ++i) high |= static_cast<std::uint32_t>(fields.codes[i] >> 4) << i;
    store_u32(block + 4, high);
    pack_nibbles(fields.codes, 16, block + 8);
  }
};

}  // namespace

extern const BlockType block_type_q5_1;
const BlockType block_type_q5_1 = {
    .name = "Q5_1",
    .gguf_id = 7,
    .block_values = Layout::kValues,
    .block_bytes = Layout::kBytes,
    .form = {.bits = 5,
             .group = Layout::kGroup,
             .is_signed = false,
             .has_minimum = Layout::kHasMinimum,
             .codebook = nullptr,
             .scales = ScaleForm::kFloat16},
    .decode = decode_blocks<Layout>,
    .codes = unpack_blocks<Layout>,
    .encode = MinimumEncoder<Layout, LinearLevels<0, 31>>::encode,
};

}  // namespace kinglet
