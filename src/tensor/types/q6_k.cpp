// Q6_K: 256 values in groups of 16; each group's 8-bit signed scale multiplies an f16 number; 6-bit codes stored with
// 32 added, their lower 4 bits and their upper 2 bits apart.
#include "kinglet/block_type.h"
#include "tensor/quantize/bytes.h"
#include "tensor/quantize/nibbles.h"
#include "tensor/quantize/unpack.h"

namespace kinglet {
namespace {

struct Layout {
  static constexpr int kValues = 256, kBytes = 210, kGroup = 16;
  static constexpr bool kHasMinimum = false;

  static void unpack(const std::uint8_t* block, std::int8_t* codes, float* scales, float*) {
    const float scale = load_f16(block + 208);
    for (int group = 0; group < 16; ++group) {
      scales[group] = scale * static_cast<float>(static_cast<std::int8_t>(block[192 + group]));
    }
    unpack_nibbles(block, 64, codes);
    unpack_nibbles(block + 64, 64, codes + 128);
    std::int8_t high[kValues];
    unpack_pairs(block + 128, high);
    for (int i = 0; i < kValues; ++i) codes[i] = static_cast<std::int8_t>((codes[i] | high[i] << 4) - 32);
  }
};

}  // namespace

extern const BlockType block_type_q6_k;
const BlockType block_type_q6_k = {
    .name = "Q6_K",
    .gguf_id = 14,
    .block_values = Layout::kValues,
    .block_bytes = Layout::kBytes,
    .form = {.bits = 6,
             .group = Layout::kGroup,
             .is_signed = true,
             .has_minimum = Layout::kHasMinimum,
             .codebook = nullptr},
    .decode = decode_blocks<Layout>,
    .codes = unpack_blocks<Layout>,
    .encode = nullptr,
};

}  // namespace kinglet
