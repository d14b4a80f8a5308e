// Kinglet's own types K2..K6: trellis-coded quantization (Marcellin and Fischer 1990) with 64 levels.
//
// A value is scale * level[w]. The index w has 6 bits: k of the value's own (one "choice" bit u and k-1 bits x) and the
// choice bits of the 6-k values before it, so that neighbours share a grid that is finer than their bits:
//   w = history | u << (6-k) | x << (7-k),  history: bit 6-k-1 is the u just before, bit 0 the oldest
// The order of coding inside 32 values is 0, 4, 8, .., 28, 1, 5, .., 31 (the four values of a quad are apart, so that
// the kernels find the history in the neighbouring quad); before the first, the history is 0.
//
// A block has S values, the largest multiple of 32 up to 256 that divides the row: one byte `base`, S/32 nibbles (low
// first, the last byte padded with 0), then for each 32 values 4k bytes of codes. A nibble is a sign (bit 3) and n =
// 0..7; with q = min(4 base + n, 123) the scale is +-(1 + q % 4 / 4) * 2^(q / 4 - 23); all scales are 0 where base is
// 0. Base has 5 bits. Codes, for input 4b + i (quad b): byte i, bit b is u. Then x by planes, lowest bits first: 4 bits
// wide where k is 5 or 6 (byte 4j + i: quad 2j low, quad 2j + 1 high), 2 bits wide where k is 3 or 4 (byte 4p + i, bits
// 2c: quad 4p + c), then 1 bit wide where k is even (byte i, bit b).
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "tensor/quantize/bytes.h"

namespace kinglet {

inline constexpr int kTrellisGroup = 32;  ///< values a scale
inline constexpr int kTrellisLevels = 64;
inline constexpr int kTrellisMost = 123;  ///< largest scale code

template <int Bits>
struct Trellis {
  static constexpr int kBits = Bits;
  static constexpr int kMemory = 6 - Bits;
  static constexpr int kStates = 1 << kMemory;                           ///< histories
  static constexpr int kFields = 2 << kMemory;                           ///< histories with the choice: w without x
  static constexpr int kChoices = 1 << (Bits - 1);                       ///< values of x
  static constexpr int kCodeBytes = 4 * Bits;                            ///< of 32 values
  static constexpr int kFirstPlane = Bits >= 5 ? 4 : Bits >= 3 ? 2 : 0;  ///< bits of x in the first plane
  static constexpr bool kLastPlane = Bits % 2 == 0;                      ///< one more bit
};

/// Where coding position j (0..31) stands.
constexpr int trellis_column(int j) { return j % 8 * 4 + j / 8; }
inline constexpr std::uint8_t kTrellisOrder[32] = {0, 4, 8,  12, 16, 20, 24, 28, 1, 5, 9,  13, 17, 21, 25, 29,
                                                   2, 6, 10, 14, 18, 22, 26, 30, 3, 7, 11, 15, 19, 23, 27, 31};

/// The scale of a scale byte (sign, then q); also the upper byte of an f16, times 2^-8.
inline float trellis_scale(std::uint8_t byte) { return f16_to_f32(static_cast<std::uint16_t>(byte << 8)) * 0x1p-8f; }

/// Indices w of 32 values in coding order, from their codes.
template <int Bits>
inline void read_windows(const std::uint8_t* codes, std::uint8_t* windows) {
  using T = Trellis<Bits>;
  unsigned history = 0;
  for (int j = 0; j < kTrellisGroup; ++j) {
    const int quad = j % 8, i = j / 8;
    const unsigned u = codes[i] >> quad & 1;
    unsigned x = 0;
    const std::uint8_t* at = codes + 4;
    if constexpr (T::kFirstPlane == 4) x = at[4 * (quad / 2) + i] >> (quad % 2 * 4) & 15u;
    if constexpr (T::kFirstPlane == 2) x = at[4 * (quad / 4) + i] >> (quad % 4 * 2) & 3u;
    if constexpr (T::kLastPlane) x |= (at[4 * T::kFirstPlane + i] >> quad & 1u) << T::kFirstPlane;
    const unsigned field = history | u << T::kMemory;
    windows[j] = static_cast<std::uint8_t>(field | x << (T::kMemory + 1));
    history = field >> 1;
  }
}

/// The reverse; the histories in `windows` are taken to be right.
template <int Bits>
inline void write_windows(const std::uint8_t* windows, std::uint8_t* codes) {
  using T = Trellis<Bits>;
  std::fill_n(codes, T::kCodeBytes, std::uint8_t{0});
  const auto put = [](std::uint8_t& byte, unsigned bits, int shift) {
    byte = static_cast<std::uint8_t>(byte | bits << shift);
  };
  for (int j = 0; j < kTrellisGroup; ++j) {
    const int quad = j % 8, i = j / 8;
    const unsigned u = windows[j] >> T::kMemory & 1u, x = windows[j] >> (T::kMemory + 1);
    put(codes[i], u, quad);
    std::uint8_t* at = codes + 4;
    if constexpr (T::kFirstPlane == 4) put(at[4 * (quad / 2) + i], x & 15, quad % 2 * 4);
    if constexpr (T::kFirstPlane == 2) put(at[4 * (quad / 4) + i], x & 3, quad % 4 * 2);
    if constexpr (T::kLastPlane) put(at[4 * T::kFirstPlane + i], x >> T::kFirstPlane, quad);
  }
}

/// The fields of one block of Groups * 32 values.
template <int Bits, int Groups>
struct TrellisLayout {
  static constexpr int kValues = Groups * kTrellisGroup, kGroup = kTrellisGroup;
  static constexpr int kHeaderBytes = 1 + (Groups + 1) / 2;
  static constexpr int kBytes = kHeaderBytes + Groups * Trellis<Bits>::kCodeBytes;
  static constexpr bool kHasMinimum = false;

  static std::uint8_t scale_byte(const std::uint8_t* block, int group) {
    const int base = block[0] & 31, nibble = block[1 + group / 2] >> (group % 2 * 4) & 15;
    if (base == 0) return 0;
    return static_cast<std::uint8_t>((nibble & 8) << 4 | std::min(4 * base + (nibble & 7), kTrellisMost));
  }
  static const std::uint8_t* codes(const std::uint8_t* block, int group) {
    return block + kHeaderBytes + group * Trellis<Bits>::kCodeBytes;
  }
};

}  // namespace kinglet
