// Arrangements of bits that several block types share.
#pragma once

#include <cstdint>

namespace kinglet {

/// 2 * half values: the low nibbles of `half` bytes, then their high nibbles.
inline void unpack_nibbles(const std::uint8_t* bytes, int half, std::int8_t* codes) {
  for (int i = 0; i < half; ++i) {
    codes[i] = static_cast<std::int8_t>(bytes[i] & 15);
    codes[i + half] = static_cast<std::int8_t>(bytes[i] >> 4);
  }
}
inline void pack_nibbles(const std::int8_t* codes, int half, std::uint8_t* bytes) {
  for (int i = 0; i < half; ++i) bytes[i] = static_cast<std::uint8_t>((codes[i] & 15) | (codes[i + half] & 15) << 4);
}

/// 256 values of 2 bits: 128 in 32 bytes, four runs of 32 values from the lowest bits up.
inline void unpack_pairs(const std::uint8_t* bytes, std::int8_t* codes) {
  for (int i = 0; i < 256; ++i) {
    codes[i] = static_cast<std::int8_t>(bytes[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3);
  }
}
inline void pack_pairs(const std::int8_t* codes, std::uint8_t* bytes) {
  for (int i = 0; i < 64; ++i) {
    const std::int8_t* run = codes + i / 32 * 128 + i % 32;
    bytes[i] = static_cast<std::uint8_t>((run[0] & 3) | (run[32] & 3) << 2 | (run[64] & 3) << 4 | (run[96] & 3) << 6);
  }
}

/// Eight 6-bit scales and eight 6-bit minimums in 12 bytes (Q4_K, Q5_K): the first four of each in the low 6 bits of
/// bytes 0-3 and 4-7, whose top 2 bits extend the nibbles of bytes 8-11 to the last four.
inline void unpack_six_bits(const std::uint8_t* bytes, std::uint8_t* scales, std::uint8_t* minimums) {
  for (int i = 0; i < 4; ++i) {
    scales[i] = bytes[i] & 63;
    minimums[i] = bytes[i + 4] & 63;
    scales[i + 4] = static_cast<std::uint8_t>((bytes[i + 8] & 15) | bytes[i] >> 6 << 4);
    minimums[i + 4] = static_cast<std::uint8_t>(bytes[i + 8] >> 4 | bytes[i + 4] >> 6 << 4);
  }
}
inline void pack_six_bits(const std::uint8_t* scales, const std::uint8_t* minimums, std::uint8_t* bytes) {
  for (int i = 0; i < 4; ++i) {
    bytes[i] = static_cast<std::uint8_t>(scales[i] | scales[i + 4] >> 4 << 6);
    bytes[i + 4] = static_cast<std::uint8_t>(minimums[i] | minimums[i + 4] >> 4 << 6);
    bytes[i + 8] = static_cast<std::uint8_t>((scales[i + 4] & 15) | (minimums[i + 4] & 15) << 4);
  }
}

/// The 16 levels of IQ4_NL and IQ4_XS (facts of the format).
inline constexpr std::int8_t kNonLinear16[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                                 1,    13,   25,  38,  53,  69,  89,  113};

}  // namespace kinglet
