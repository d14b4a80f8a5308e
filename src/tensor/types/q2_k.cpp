// Q2_K: 256 values in groups of 16; each group's 4-bit scale and 4-bit minimum multiply two f16 numbers; 2-bit codes.
#include "kinglet/block_type.h"
#include "tensor/quantize/bytes.h"
#include "tensor/quantize/nibbles.h"
#include "tensor/quantize/unpack.h"

namespace kinglet {
namespace {

struct Layout {
  static constexpr int kValues = 256, kBytes = 84, kGroup = 16;
  static constexpr bool kHasMinimum = true;

  static void unpack(const std::uint8_t* block, std::int8_t* codes, float* scales, float* minimums) {
    const float scale = load_f16(block + 80), minimum = load_f16(block + 82);
    for (int group = 0; group < 16; ++group) {
      scales[group] = scale * static_cast<float>(block[group] & 15);
      minimums[group] = minimum * static_cast<float>(block[group] >> 4);
    }
    unpack_pairs(block + 16, codes);
  }
};

}  // namespace

extern const BlockType block_type_q2_k;
const BlockType block_type_q2_k = {
    .name = "Q2_K",
    .gguf_id = 10,
    .block_values = Layout::kValues,
    .block_bytes = Layout::kBytes,
    .form = {.bits = 2,
             .group = Layout::kGroup,
             .is_signed = false,
             .has_minimum = Layout::kHasMinimum,
             .codebook = nullptr},
    .decode = decode_blocks<Layout>,
    .codes = unpack_blocks<Layout>,
    .encode = nullptr,
};

}  // namespace kinglet
