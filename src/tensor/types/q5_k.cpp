// Q5_K: Q4_K with a fifth bit for each code: bit g of byte i belongs to value i of group g.
#include "kinglet/block_type.h"
#include "tensor/quantize/bytes.h"
#include "tensor/quantize/nibbles.h"
#include "tensor/quantize/unpack.h"

namespace kinglet {
namespace {

struct Layout {
  static constexpr int kValues = 256, kBytes = 176, kGroup = 32;
  static constexpr bool kHasMinimum = true;

  static void unpack(const std::uint8_t* block, std::int8_t* codes, float* scales, float* minimums) {
    const float scale = load_f16(block), minimum = load_f16(block + 2);
    std::uint8_t group_scales[8], group_minimums[8];
    unpack_six_bits(block + 4, group_scales, group_minimums);
    for (int group = 0; group < 8; ++group) {
      scales[group] = scale * static_cast<float>(group_scales[group]);
      minimums[group] = minimum * static_cast<float>(group_minimums[group]);
    }
    for (int pair = 0; pair < 4; ++pair) unpack_nibbles(block + 48 + pair * 32, 32, codes + pair * 64);
    for (int i = 0; i < kValues; ++i) {
      codes[i] = static_cast<std::int8_t>(codes[i] | (block[16 + i % 32] >> (i / 32) & 1) << 4);
    }
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
             .codebook = nullptr},
    .decode = decode_blocks<Layout>,
    .codes = unpack_blocks<Layout>,
    .encode = nullptr,
};

}  // namespace kinglet
