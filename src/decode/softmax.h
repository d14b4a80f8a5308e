// Sums of exponentials over rows of logits, the same to the bit on every machine: libm picks its exp by the processor.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>

namespace kinglet {

/// exp(x) for x <= 0, within 2e-7 relative; 0 below -87 (and for NaN). Branch-free, so that loops vectorise.
inline float exp_nonpositive(float x) {
  const bool zero = !(x >= -87.0f);
  const float clamped = zero ? 0.0f : x;
  // Adding 1.5 * 2^23 rounds to an integer that stands in the low bits of the sum.
  const float shifted = clamped * 1.44269504f + 12582912.0f;
  const float power = shifted - 12582912.0f;
  const float r = (clamped - power * 0.693359375f) - power * -2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.0f;
  const auto exponent = (std::bit_cast<std::uint32_t>(shifted) - std::bit_cast<std::uint32_t>(12582912.0f) + 127u)
                        << 23;
  return zero ? 0.0f : p * std::bit_cast<float>(exponent);
}

/// Largest value; NaN is passed over; -infinity for an empty row.
float maximum(std::span<const float> row);

/// Index of the largest value, the first among equals; row.size() where every value is NaN or -infinity.
std::size_t argmax(std::span<const float> row);

/// Sum of exp(row[i] - max) with max >= every value.
double exp_sum(std::span<const float> row, float max);

/// log(sum(exp(row))), -infinity where no value is finite.
double log_sum_exp(std::span<const float> row);

}  // namespace kinglet
