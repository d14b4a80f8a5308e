// The scalar and the 256-bit part of rounding activations, for AVX2 and AVX-512 (the definition:
// quantize_scalar-inl.h).
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "tensor/kernels/quantize_scalar-inl.h"

namespace kinglet {
namespace {

struct Step {
  bool search;
  float inverse, scale;
};

// Before the search: what blocks without one get, and the candidates' inverses.
inline Step first_step(std::uint32_t largest, float (&inverses)[kStepCandidates]) {
  if (largest >= kInfinityBits) return {false, 0, __builtin_bit_cast(float, kQuietNan)};
  if (largest < kSmallestBits) return {false, 0, 0};
  const float magnitude = __builtin_bit_cast(float, largest);
  if (largest >= kLargeBits) return {false, kLargestCode / magnitude, magnitude / kLargestCode};
  const __m256 codes = _mm256_set_ps(120, 121, 122, 123, 124, 125, 126, 127);
  _mm256_storeu_ps(inverses, _mm256_div_ps(codes, _mm256_set1_ps(magnitude)));
  return {true, 0, 0};
}

// Lane i + lane i + 4, then + 2, then + 1, of eight vectors: their sums in order.
inline __m256 lane_sums(const __m256 (&v)[8]) {
  __m256 fours[4], twos[2];
  for (int i = 0; i < 4; ++i)  // [v(2i) | v(2i + 1)]
    fours[i] = _mm256_add_ps(_mm256_permute2f128_ps(v[2 * i], v[2 * i + 1], 0x20),
                             _mm256_permute2f128_ps(v[2 * i], v[2 * i + 1], 0x31));
  for (int i = 0; i < 2; ++i)  // pairs of v(4i), v(4i + 2) | v(4i + 1), v(4i + 3)
    twos[i] = _mm256_add_ps(_mm256_shuffle_ps(fours[2 * i], fours[2 * i + 1], 0x44),
                            _mm256_shuffle_ps(fours[2 * i], fours[2 * i + 1], 0xEE));
  // v0 v2 v4 v6 | v1 v3 v5 v7
  const __m256 sums =
      _mm256_add_ps(_mm256_shuffle_ps(twos[0], twos[1], 0x88), _mm256_shuffle_ps(twos[0], twos[1], 0xDD));
  return _mm256_permutevar8x32_ps(sums, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}

// The first candidate with the greatest score.
inline void choose_step(__m256 products, __m256 squares, const float (&inverses)[kStepCandidates], Step& step) {
  const __m256 scales = _mm256_div_ps(products, squares), scores = _mm256_mul_ps(products, scales);
  __m256 most = _mm256_max_ps(scores, _mm256_permute2f128_ps(scores, scores, 1));
  most = _mm256_max_ps(most, _mm256_shuffle_ps(most, most, 0x4E));
  most = _mm256_max_ps(most, _mm256_shuffle_ps(most, most, 0xB1));
  const int equal = _mm256_movemask_ps(_mm256_cmp_ps(scores, most, _CMP_EQ_OQ));
  const int best = __builtin_ctz(static_cast<unsigned>(equal));
  float all[kStepCandidates];
  _mm256_storeu_ps(all, scales);
  step.scale = all[best];
  step.inverse = inverses[best];
}

// Zero, or not finite.
inline void empty_block(const Step& step, QuantizedBlock* out) {
  *out = {};
  out->scale = step.scale;
}

inline void finish_block(const Step& step, int first_half, int second_half, QuantizedBlock* out) {
  out->scale = step.scale;
  out->negative_half = -first_half;
  out->negative_sum = -(first_half + second_half);
  out->negative_sum_float = static_cast<float>(out->negative_sum);
}

}  // namespace
}  // namespace kinglet
