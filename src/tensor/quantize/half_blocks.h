// Conversions of the 16-bit float types, whose blocks are single values.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "tensor/half.h"

namespace kinglet {

template <float (*kToF32)(std::uint16_t)>
void decode_halves(const std::byte* data, std::size_t blocks, float* out) {
  for (std::size_t i = 0; i < blocks; ++i) {
    std::uint16_t half;
    std::memcpy(&half, data + i * sizeof half, sizeof half);
    out[i] = kToF32(half);
  }
}

template <std::uint16_t (*kFromF32)(float)>
void encode_halves(const float* values, std::size_t blocks, const float* /*importance*/, std::byte* out) {
  for (std::size_t i = 0; i < blocks; ++i) {
    const std::uint16_t half = kFromF32(values[i]);
    std::memcpy(out + i * sizeof half, &half, sizeof half);
  }
}

}  // namespace kinglet
