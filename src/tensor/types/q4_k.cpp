// Q4_K: 256 values in groups of 32; each group's 6-bit scale and 6-bit minimum multiply two f16 numbers; 4-bit codes.
#include "kinglet/block_type.h"
#include "tensor/quantize/bytes.h"
#include "tensor/quantize/nibbles.h"
#include "tensor/quantize/unpack.h"

namespace kinglet {
namespace {

struct Layout {
  static constexpr int kValues = 256, kBytes = 144, kGroup = 32;
  static constexpr bool kHasMinimum = true;

  static void unpack(const std::uint8_t* block, std::int8_t* codes, float* scales, float* minimums) {
    const float scale = load_f16(block), minimum = load_f16(block + 2);
    std::uint8_t group_scales[8], group_minimums[8];
    unpack_six_bits(block + 4, group_scales, group_minimums);
    for (int group = 0; group < 8; ++group) {
      scales[group] = scale * static_cast<float>(group_scales[group]);
      minimums[group] = minimum * static_cast<float>(group_minimums[group]);
    }
    for (int pair = 0; pair < 4; ++pair) unpack_nibbles(block + 16 + pair * 32, 32, codes + pair * 64);
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
             .codebook = nullptr},
    .decode = decode_blocks<Layout>,
    .codes = unpack_blocks<Layout>,
    .encode = nullptr,
};

}  // namespace kinglet
