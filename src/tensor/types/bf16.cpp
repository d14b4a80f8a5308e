// BF16: the upper half of a single-precision number.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

#include "kinglet/block_type.h"
#include "tensor/half.h"

namespace kinglet {
namespace {

void decode(const std::byte* data, std::size_t blocks, float* out) {
  for (std::size_t i = 0; i < blocks; ++i) {
    std::uint16_t half;
    std::memcpy(&half, data + i * sizeof half, sizeof half);
    out[i] = bf16_to_f32(half);
  }
}

void encode(const float* values, std::size_t blocks, const float*, std::byte* out) {
  for (std::size_t i = 0; i < blocks; ++i) {
    const std::uint16_t half = f32_to_bf16(values[i]);
    std::memcpy(out + i * sizeof half, &half, sizeof half);
  }
}

}  // namespace

extern const BlockType block_type_bf16;
const BlockType block_type_bf16 = {
    .name = "BF16",
    .gguf_id = 30,
    .block_values = 1,
    .block_bytes = 2,
    .form = {},
    .decode = decode,
    .codes = nullptr,
    .encode = encode,
};

}  // namespace kinglet
