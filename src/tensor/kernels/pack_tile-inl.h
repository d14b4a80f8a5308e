// Reading single values of a packed tile in portable C++ (layouts: tile_format.h).
#pragma once

#include <cstdint>

#include "tensor/half.h"
#include "tensor/kernels/tile_format.h"

namespace kinglet {
namespace {

template <typename T>
T load(const unsigned char* from) {
  T value;
  __builtin_memcpy(&value, from, sizeof value);
  return value;
}

// The index of a trellis's level: see tensor/quantize/trellis.h for the bits.
template <TileFormat F>
int trellis_code(const unsigned char* codes, int lane, int input) {
  const int quad = input / 4, i = input % 4;
  int index = 0;
  for (int back = 0; back <= F.memory(); ++back) {  // choices of this position and those before it
    const int position = 8 * i + quad - back;
    if (position < 0) break;
    index |= (codes[4 * lane + position / 8] >> (position % 8) & 1) << (F.memory() - back);
  }
  const unsigned char* at = codes + 64 + 4 * lane + i;
  int x = 0;
  if constexpr (F.width == 2) x = at[0] >> trellis_x_bit(quad) & 1;
  if constexpr (F.width == 3) x = at[64 * (quad / 4)] >> (quad % 4 * 2) & 3;
  if constexpr (F.width == 5) x = at[64 * (quad / 2)] >> (quad % 2 * 4) & 15;
  if constexpr (F.width == 4) {
    const int rest = at[0] >> 6 | at[64] >> 6 << 2 | at[128] >> 6 << 4;
    x = (quad < 6 ? at[64 * (quad / 2)] : rest) >> (quad % 2 * 3) & 7;
  }
  return index | x << (F.memory() + 1);
}

// The stored code of input `input` (0..31) of lane `lane`.
template <TileFormat F>
int stored_code(const unsigned char* codes, int lane, int input) {
  const int quad = input / 4, byte = 4 * lane + input % 4;
  if constexpr (F.trellis && F.width < 6) return trellis_code<F>(codes, lane, input);
  if constexpr (F.width == 1 || F.planes) {
    int code = 0;
    for (int plane = 0; plane < F.width; ++plane) code |= (codes[64 * plane + byte] >> quad & 1) << plane;
    return code;
  }
  if constexpr (F.width <= 3) {
    int code = codes[64 * (quad / 4) + byte] >> (quad % 4 * 2) & 3;
    if constexpr (F.width == 3) code |= (codes[128 + byte] >> quad & 1) << 2;
    return code;
  }
  if constexpr (F.width == 8) return codes[64 * quad + byte];
  int code = codes[64 * (quad / 2) + byte] >> (quad % 2 * 4) & 15;
  if constexpr (F.width == 5) code |= (codes[256 + byte] >> quad & 1) << 4;
  if constexpr (F.width == 6) code |= (codes[256 + 64 * (quad / 4) + byte] >> (quad % 4 * 2) & 3) << 4;
  return code;
}

// What a stored code stands for.
template <TileFormat F>
int code_value(int stored, const std::int8_t* codebook) {
  if constexpr (F.table()) return codebook[stored];
  if constexpr (F.odd) return 2 * stored + 1 - (1 << F.width);
  return stored - F.bias();
}

// Scale (or minimum) of `lane` in group `group`; `unit` multiplies it where the format says so.
template <TileFormat F>
float group_scale(const unsigned char* scales, float unit, int group, int lane) {
  const unsigned char* at = scales + (group * kTileLanes + lane) * F.scale_size();
  if constexpr (F.scales == ScaleForm::kFloat32) return load<float>(at);
  if constexpr (F.scales == ScaleForm::kFloat16) return f16_to_f32(load<std::uint16_t>(at));
  if constexpr (F.scales == ScaleForm::kFloat8) return f16_to_f32(static_cast<std::uint16_t>(*at << 8)) * 0x1p-8f;
  return unit * static_cast<float>(static_cast<std::int8_t>(*at));
}

}  // namespace
}  // namespace kinglet
