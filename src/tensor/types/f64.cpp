// F64: double precision; values are rounded to single precision when they are read.
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
    double number;
    std::memcpy(&number, data + i * sizeof number, sizeof number);
    // IEEE conversion: infinity for what lies outside the range of float.
    out[i] = static_cast<float>(number);
  }
}

void encode(const float* values, std::size_t blocks, const float*, std::byte* out) {
  for (std::size_t i = 0; i < blocks; ++i) {
    const double number = values[i];
    std::memcpy(out + i * sizeof number, &number, sizeof number);
  }
}

}  // namespace

extern const BlockType block_type_f64;
const BlockType block_type_f64 = {
    .name = "F64",
    .gguf_id = 28,
    .block_values = 1,
    .block_bytes = 8,
    .form = {},
    .decode = decode,
    .codes = nullptr,
    .encode = encode,
};

}  // namespace kinglet
