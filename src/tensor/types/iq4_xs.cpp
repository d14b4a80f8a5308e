// IQ4_XS: 256 values in groups of 32; each group's 6-bit signed scale multiplies an f16 number; 4-bit indices into the
// 16 levels of IQ4_NL.
#include "kinglet/block_type.h"
#include "tensor/quantize/bytes.h"
#include "tensor/quantize/nibbles.h"
#include "tensor/quantize/unpack.h"

namespace kinglet {
namespace {

struct Layout {
  static constexpr int kValues = 256, kBytes = 136, kGroup = 32;
  static constexpr bool kHasMinimum = false;
  static constexpr const std::int8_t* kCodebook = kNonLinear16;

  static void unpack(const std::uint8_t* block, std::int8_t* codes, float* scales, float*) {
    const float scale = load_f16(block);
    const int high = load_u16(block + 2);
    for (int group = 0; group < 8; ++group) {
      const int low = block[4 + group / 2] >> (group % 2 * 4) & 15;
      scales[group] = scale * static_cast<float>((low | (high >> (group * 2) & 3) << 4) - 32);
      unpack_nibbles(block + 8 + group * 16, 16, codes + group * 32);
    }
  }
};

}  // namespace

extern const BlockType block_type_iq4_xs;
const BlockType block_type_iq4_xs = {
    .name = "IQ4_XS",
    .gguf_id = 23,
    .block_values = Layout::kValues,
    .block_bytes = Layout::kBytes,
    .form = {.bits = 4,
             .group = Layout::kGroup,
             .is_signed = false,
             .has_minimum = Layout::kHasMinimum,
             .codebook = kNonLinear16},
    .decode = decode_blocks<Layout>,
    .codes = unpack_blocks<Layout>,
    .encode = nullptr,
};

}  // namespace kinglet
