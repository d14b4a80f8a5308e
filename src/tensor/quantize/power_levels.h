// Levels of power-exponent quantization (PowerQuant, arXiv 2301.09858; NUPES, arXiv 2308.05600): a value is uniform
// after |w|^a, so level q is sign(q) |q|^(1/a), dense near zero for a < 1.
#pragma once

#include <array>
#include <cstdint>

namespace kinglet {

/// Exponents that the block types have, in hundredths.
inline constexpr int kPowerFirst = 50, kPowerLast = 120, kPowerStep = 5;
inline constexpr int kPowerCount = (kPowerLast - kPowerFirst) / kPowerStep + 1;
/// The exponent of a type that names none: the best for bell-shaped weights in blocks of up to 256.
inline constexpr int kPowerUsual = 80;

/// x^y for x >= 1 in constant expressions; 12 digits.
constexpr double power_of(double x, double y) {
  // log x = 2 atanh((m - 1) / (m + 1)) + e log 2
  int halvings = 0;
  while (x > 1.5) x /= 2, ++halvings;
  const double z = (x - 1) / (x + 1);
  double log = 0, term = z;
  for (int k = 1; k < 60; k += 2, term *= z * z) log += 2 * term / k;
  double exponent = y * (log + halvings * 0.69314718055994530942);
  int doublings = 0;
  while (exponent > 0.5) exponent -= 0.69314718055994530942, ++doublings;
  double result = 1, part = 1;
  for (int k = 1; k < 25; ++k) result += part *= exponent / k;
  for (; doublings > 0; --doublings) result *= 2;
  return result;
}

/// The 2^Bits levels for codes -2^(Bits-1) .. 2^(Bits-1)-1 as signed bytes. Bytes are whole numbers: of the scalings
/// that use at least half of their range, the one at which the levels lie best, measured by their distance from the
/// true ones as a share of the distance to the next (a = 1 is uniform, and a = 1/2 has the squares, both exactly).
template <int Bits>
constexpr std::array<std::int8_t, (1 << Bits)> power_levels(int hundredths) {
  constexpr int kHalf = 1 << (Bits - 1);
  double powers[kHalf + 1] = {};
  for (int q = 1; q <= kHalf; ++q) powers[q] = power_of(q, 100.0 / hundredths);
  const double most = 127 / powers[kHalf];
  double best = 0, least = 1e300;
  for (int i = static_cast<int>(most * 64); i > 0 && i >= most * 64 * 0.5; --i) {
    const double unit = i / 64.0;
    double off = 0;
    for (int q = 1; q <= kHalf; ++q) {
      const double level = unit * powers[q], step = unit * (powers[q] - powers[q - 1]);
      const double distance = (static_cast<int>(level + 0.5) - level) / step;
      off += distance * distance;
    }
    if (off < least) least = off, best = unit;
  }
  std::array<std::int8_t, (1 << Bits)> levels = {};
  for (int code = -kHalf; code < kHalf; ++code) {
    const int level = static_cast<int>(best * powers[code < 0 ? -code : code] + 0.5);
    levels[static_cast<std::size_t>(code + kHalf)] = static_cast<std::int8_t>(code < 0 ? -level : level);
  }
  return levels;
}

}  // namespace kinglet
