// I8: plain integers, as the containers of codecs and index tables use them.
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
    std::int8_t number;
    std::memcpy(&number, data + i * sizeof number, sizeof number);
    out[i] = static_cast<float>(number);
  }
}

// To the nearest integer, ties to even; the ends of the range for what lies outside, 0 for NaN.
void encode(const float* values, std::size_t blocks, const float*, std::byte* out) {
  using Limits = std::numeric_limits<std::int8_t>;
  for (std::size_t i = 0; i < blocks; ++i) {
    const float rounded = std::nearbyint(values[i]);
    std::int8_t number = 0;
    if (rounded >= -static_cast<float>(Limits::min())) {
      number = Limits::max();
    } else if (rounded <= static_cast<float>(Limits::min())) {
      number = Limits::min();
    } else if (!std::isnan(rounded)) {
      number = static_cast<std::int8_t>(rounded);
    }
    std::memcpy(out + i * sizeof number, &number, sizeof number);
  }
}

}  // namespace

extern const BlockType block_type_i8;
const BlockType block_type_i8 = {
    .name = "I8",
    .gguf_id = 24,
    .block_values = 1,
    .block_bytes = 1,
    .form = {},
    .decode = decode,
    .codes = nullptr,
    .encode = encode,
};

}  // namespace kinglet
