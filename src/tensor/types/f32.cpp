// F32: single precision.
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
  if (blocks != 0) std::memcpy(out, data, blocks * sizeof(float));
}

void encode(const float* values, std::size_t blocks, const float*, std::byte* out) {
  if (blocks != 0) std::memcpy(out, values, blocks * sizeof(float));
}

}  // namespace

extern const BlockType block_type_f32;
const BlockType block_type_f32 = {
    .name = "F32",
    .gguf_id = 0,
    .block_values = 1,
    .block_bytes = 4,
    .form = {},
    .decode = decode,
    .codes = nullptr,
    .encode = encode,
};

}  // namespace kinglet
