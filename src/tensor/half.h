// Half-precision numbers in portable integer arithmetic: exact one way, rounded to nearest even the other. Bit-equal to
// the conversion instructions of F16C and AVX512-BF16 (NaNs become quiet and keep the upper part of their payload).
#pragma once

#include <bit>
#include <cstdint>

namespace kinglet {

inline float f16_to_f32(std::uint16_t half) {
  const std::uint32_t sign = std::uint32_t{half & 0x8000u} << 16;
  const std::uint32_t rest = half & 0x7FFFu;
  if (rest >= 0x7C00) {  // infinity, or a NaN made quiet
    const std::uint32_t quiet = rest > 0x7C00 ? 0x00400000u : 0;
    return std::bit_cast<float>(sign | 0x7F800000u | quiet | (rest & 0x3FFu) << 13);
  }
  if (rest < 0x0400) {  // 0.5 + m 2^-24 - 0.5 is exact and meets no denormal on the way
    const float magnitude = std::bit_cast<float>(0x3F000000u | rest) - 0.5f;
    return std::bit_cast<float>(sign | std::bit_cast<std::uint32_t>(magnitude));
  }
  return std::bit_cast<float>(sign | ((rest << 13) + (112u << 23)));
}

inline std::uint16_t f32_to_f16(float value) {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t sign = bits >> 16 & 0x8000u;
  const std::uint32_t rest = bits & 0x7FFFFFFFu;
  std::uint32_t half;
  if (rest > 0x7F800000u) {
    half = 0x7E00u | (rest >> 13 & 0x3FFu);
  } else if (rest >= 0x477FF000u) {  // from 65520 on the nearest is infinity
    half = 0x7C00u;
  } else if (rest < 0x38800000u) {  // below 2^-14: adding 0.5 rounds to multiples of 2^-24, as f16's denormals need
    half = std::bit_cast<std::uint32_t>(std::bit_cast<float>(rest) + 0.5f) - 0x3F000000u;
  } else {
    half = (rest - (112u << 23) + 0xFFFu + (rest >> 13 & 1u)) >> 13;
  }
  return static_cast<std::uint16_t>(sign | half);
}

inline float bf16_to_f32(std::uint16_t half) { return std::bit_cast<float>(std::uint32_t{half} << 16); }

inline std::uint16_t f32_to_bf16(float value) {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
  if ((bits & 0x7FFFFFFFu) > 0x7F800000u) return static_cast<std::uint16_t>(bits >> 16 | 0x40u);
  return static_cast<std::uint16_t>((bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16);
}

}  // namespace kinglet
