// Q4_1: 32 values, an f16 scale, an f16 offset that is added, 4-bit codes.
#include "kinglet/block_type.h"
#include "tensor/quantize/bytes.h"
#include "tensor/quantize/nibbles.h"
#include "tensor/quantize/unpack.h"

namespace kinglet {
namespace {

struct Layout {
  static constexpr int kValues = 32, kBytes = 20, kGroup = 32;
  static constexpr bool kHasMinimum = true;

  static void unpack(const std::uint8_t* block, std::int8_t* codes, float* scales, float* minimums) {
    scales[0] = load_f16(block);
    minimums[0] = -load_f16(block + 2);
    unpack_nibbles(block + 4, 16, codes);
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
             .codebook = nullptr},
    .decode = decode_blocks<Layout>,
    .codes = unpack_blocks<Layout>,
    .encode = nullptr,
};

}  // namespace kinglet
