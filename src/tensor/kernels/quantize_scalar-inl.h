// Rounding 32 activations to int8: the definition that every instruction set follows operation by operation.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

#include "tensor/kernels/tile_format.h"

namespace kinglet {

// Steps tried: the largest magnitude becomes 127, 126, …, 120. A slightly wider step often fits the other 31 values
// better.
inline constexpr int kStepCandidates = 8;
inline constexpr float kLargestCode = 127.0f;
// Adding and subtracting 1.5 * 2^23 rounds to the nearest integer, ties to even, for magnitudes below 2^22.
inline constexpr float kRounder = 12582912.0f;
// Blocks whose largest magnitude is below 2^-100 become zeros: the reciprocal of the step would overflow.
inline constexpr std::uint32_t kSmallestBits = 27u << 23;
// From 2^100 on sums could overflow: such blocks take the first step as it is.
inline constexpr std::uint32_t kLargeBits = 227u << 23;
inline constexpr std::uint32_t kInfinityBits = 255u << 23;
inline constexpr std::uint32_t kQuietNan = 0x7FC00000u;

namespace {

// Sum over 16 lanes in the order of a halving vector: i + 8, then + 4, + 2, + 1.
inline float lane_sum(float (&lanes)[16]) {
  for (int half = 8; half > 0; half /= 2)
    for (int i = 0; i < half; ++i) lanes[i] = lanes[i] + lanes[i + half];
  return lanes[0];
}

inline QuantizedBlock quantize_block(const float* x) {
  QuantizedBlock block = {};
  std::uint32_t largest = 0;
  for (int i = 0; i < 32; ++i) {
    const std::uint32_t bits = std::bit_cast<std::uint32_t>(x[i]) & 0x7FFFFFFFu;
    largest = bits > largest ? bits : largest;
  }
  if (largest >= kInfinityBits) block.scale = std::bit_cast<float>(kQuietNan);
  if (largest < kSmallestBits || largest >= kInfinityBits) return block;

  // With codes q the best scale is sum(x q) / sum(q q), and leaves the error sum(x x) - sum(x q)^2 / sum(q q).
  float best_score = -1, best_inverse = 0, best_scale = 0;
  const float magnitude = std::bit_cast<float>(largest);
  if (largest >= kLargeBits) {
    best_inverse = kLargestCode / magnitude;
    best_scale = magnitude / kLargestCode;
  }
  for (int candidate = 0; candidate < (largest >= kLargeBits ? 0 : kStepCandidates); ++candidate) {
    const float inverse = (kLargestCode - static_cast<float>(candidate)) / magnitude;
    float products[16], squares[16];
    for (int i = 0; i < 16; ++i) {
      const float low = (x[i] * inverse + kRounder) - kRounder, high = (x[i + 16] * inverse + kRounder) - kRounder;
      products[i] = std::fma(x[i + 16], high, x[i] * low);
      squares[i] = std::fma(high, high, low * low);
    }
    const float product = lane_sum(products), square = lane_sum(squares);
    const float scale = product / square, score = product * scale;
    if (score > best_score) {
      best_score = score;
      best_inverse = inverse;
      best_scale = scale;
    }
  }
  block.scale = best_scale;
  std::int32_t halves[2] = {0, 0};
  for (int i = 0; i < 32; ++i) {
    const int code = static_cast<int>((x[i] * best_inverse + kRounder) - kRounder);
    block.codes[i] = static_cast<std::int8_t>(code);
    halves[i / 16] += code;
  }
  block.negative_half = -halves[0];
  block.negative_sum = -(halves[0] + halves[1]);
  block.negative_sum_float = static_cast<float>(block.negative_sum);
  return block;
}

}  // namespace
}  // namespace kinglet
