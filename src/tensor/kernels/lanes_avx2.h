// Sixteen f32 lanes as two ymm registers. Only *_avx2.cpp include this.
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <cstring>

#define KINGLET_INLINE static inline __attribute__((always_inline))

namespace kinglet::isa_avx2 {

constexpr int kMaxAccumulators = 4;  ///< two of 16 registers each, six rows of one group leave two for the group
constexpr int kMaxRows = 6;

struct V {
  __m256 a, b;
};
using M = V;

KINGLET_INLINE V set1(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
KINGLET_INLINE V zero() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
KINGLET_INLINE V load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
KINGLET_INLINE void store(float* p, V x) {
  _mm256_storeu_ps(p, x.a);
  _mm256_storeu_ps(p + 8, x.b);
}
KINGLET_INLINE V load_n(const float* p, int n) {
  float t[16] = {};
  std::memcpy(t, p, static_cast<std::size_t>(n) * 4);
  return load(t);
}
KINGLET_INLINE void store_n(float* p, V x, int n) {
  float t[16];
  store(t, x);
  std::memcpy(p, t, static_cast<std::size_t>(n) * 4);
}
KINGLET_INLINE V add(V x, V y) { return {_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b)}; }
KINGLET_INLINE V sub(V x, V y) { return {_mm256_sub_ps(x.a, y.a), _mm256_sub_ps(x.b, y.b)}; }
KINGLET_INLINE V mul(V x, V y) { return {_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)}; }
KINGLET_INLINE V div(V x, V y) { return {_mm256_div_ps(x.a, y.a), _mm256_div_ps(x.b, y.b)}; }
KINGLET_INLINE V vmin(V x, V y) { return {_mm256_min_ps(x.a, y.a), _mm256_min_ps(x.b, y.b)}; }
KINGLET_INLINE V vmax(V x, V y) { return {_mm256_max_ps(x.a, y.a), _mm256_max_ps(x.b, y.b)}; }
KINGLET_INLINE V fma(V x, V y, V z) { return {_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)}; }
KINGLET_INLINE V vabs(V x) {
  const __m256 bit = _mm256_set1_ps(-0.0f);
  return {_mm256_andnot_ps(bit, x.a), _mm256_andnot_ps(bit, x.b)};
}
KINGLET_INLINE V copy_sign(V magnitude, V sign) {
  const __m256 bit = _mm256_set1_ps(-0.0f);
  return {_mm256_or_ps(_mm256_andnot_ps(bit, magnitude.a), _mm256_and_ps(bit, sign.a)),
          _mm256_or_ps(_mm256_andnot_ps(bit, magnitude.b), _mm256_and_ps(bit, sign.b))};
}
KINGLET_INLINE M less(V x, V y) { return {_mm256_cmp_ps(x.a, y.a, _CMP_LT_OQ), _mm256_cmp_ps(x.b, y.b, _CMP_LT_OQ)}; }
KINGLET_INLINE V select(M m, V yes, V no) {
  return {_mm256_blendv_ps(no.a, yes.a, m.a), _mm256_blendv_ps(no.b, yes.b, m.b)};
}
KINGLET_INLINE M lane_range(int begin, int end) {
  const __m256i low = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), high = _mm256_add_epi32(low, _mm256_set1_epi32(8));
  const __m256i from = _mm256_set1_epi32(begin - 1), to = _mm256_set1_epi32(end);
  return {_mm256_castsi256_ps(_mm256_and_si256(_mm256_cmpgt_epi32(low, from), _mm256_cmpgt_epi32(to, low))),
          _mm256_castsi256_ps(_mm256_and_si256(_mm256_cmpgt_epi32(high, from), _mm256_cmpgt_epi32(to, high)))};
}
KINGLET_INLINE __m256 scale_exponent8(__m256 p, __m256 t) {
  return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(p), _mm256_slli_epi32(_mm256_castps_si256(t), 23)));
}
KINGLET_INLINE V scale_exponent(V p, V t) { return {scale_exponent8(p.a, t.a), scale_exponent8(p.b, t.b)}; }
KINGLET_INLINE float sum(V x) {
  const __m256 a8 = _mm256_add_ps(x.a, x.b);
  const __m128 a4 = _mm_add_ps(_mm256_castps256_ps128(a8), _mm256_extractf128_ps(a8, 1));
  const __m128 a2 = _mm_add_ps(a4, _mm_movehl_ps(a4, a4));
  return _mm_cvtss_f32(_mm_add_ss(a2, _mm_shuffle_ps(a2, a2, 1)));
}
KINGLET_INLINE float maximum(V x) {
  const __m256 a8 = _mm256_max_ps(x.a, x.b);
  const __m128 a4 = _mm_max_ps(_mm256_castps256_ps128(a8), _mm256_extractf128_ps(a8, 1));
  const __m128 a2 = _mm_max_ps(a4, _mm_movehl_ps(a4, a4));
  return _mm_cvtss_f32(_mm_max_ss(a2, _mm_shuffle_ps(a2, a2, 1)));
}
KINGLET_INLINE V swap_pairs(V x) { return {_mm256_permute_ps(x.a, 0xb1), _mm256_permute_ps(x.b, 0xb1)}; }
KINGLET_INLINE V load_twice(const float* p) {
  const __m256 x = _mm256_loadu_ps(p);
  return {_mm256_permutevar8x32_ps(x, _mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3)),
          _mm256_permutevar8x32_ps(x, _mm256_setr_epi32(4, 4, 5, 5, 6, 6, 7, 7))};
}
KINGLET_INLINE V negate_even(V x) {
  const __m256 bits = _mm256_setr_ps(-0.0f, 0.0f, -0.0f, 0.0f, -0.0f, 0.0f, -0.0f, 0.0f);
  return {_mm256_xor_ps(x.a, bits), _mm256_xor_ps(x.b, bits)};
}

KINGLET_INLINE __m128i load_half_register(const void* p) { return _mm_loadu_si128(static_cast<const __m128i*>(p)); }
KINGLET_INLINE V load_f16(const std::uint16_t* p) {
  return {_mm256_cvtph_ps(load_half_register(p)), _mm256_cvtph_ps(load_half_register(p + 8))};
}
KINGLET_INLINE __m256 widen_bf16(__m128i x) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(x), 16));
}
KINGLET_INLINE V load_bf16(const std::uint16_t* p) {
  return {widen_bf16(load_half_register(p)), widen_bf16(load_half_register(p + 8))};
}
KINGLET_INLINE V load_i8(const std::int8_t* p) {
  const __m128i x = load_half_register(p);
  return {_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(x)), _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(x, 8)))};
}
/// Four bits each: 16 values of a row, of which the low nibbles are one and the high ones the next; and 16 values in 8
/// bytes, the low nibbles before the high ones.
KINGLET_INLINE V widen_u4(__m128i x) {
  const __m128i codes = _mm_and_si128(x, _mm_set1_epi8(15));
  return {_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(codes)),
          _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_srli_si128(codes, 8)))};
}
KINGLET_INLINE V load_u4_row(const std::uint8_t* p, int high) {
  const __m128i x = load_half_register(p);
  return widen_u4(high != 0 ? _mm_srli_epi16(x, 4) : x);
}
KINGLET_INLINE V load_u4(const std::uint8_t* p) {
  const __m128i x = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
  return widen_u4(_mm_unpacklo_epi64(x, _mm_srli_epi16(x, 4)));
}
KINGLET_INLINE void store_f16(std::uint16_t* p, V x) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(x.a, _MM_FROUND_TO_NEAREST_INT));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p + 8), _mm256_cvtps_ph(x.b, _MM_FROUND_TO_NEAREST_INT));
}
KINGLET_INLINE __m256i narrow_bf16(__m256 x) {
  const __m256i u = _mm256_castps_si256(x);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(1));
  const __m256i rounded = _mm256_add_epi32(_mm256_add_epi32(u, _mm256_set1_epi32(0x7fff)), odd);
  const __m256i quiet = _mm256_or_si256(u, _mm256_set1_epi32(0x400000));
  const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));
  return _mm256_srli_epi32(_mm256_blendv_epi8(rounded, quiet, nan), 16);
}
KINGLET_INLINE void store_bf16(std::uint16_t* p, V x) {
  const __m256i packed = _mm256_packus_epi32(narrow_bf16(x.a), narrow_bf16(x.b));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm256_permute4x64_epi64(packed, 0xd8));
}
KINGLET_INLINE __m256i narrow_i32(__m256 x) {
  const __m256 size = _mm256_andnot_ps(_mm256_set1_ps(-0.0f), x);
  return _mm256_cvttps_epi32(_mm256_and_ps(x, _mm256_cmp_ps(size, _mm256_set1_ps(127.0f), _CMP_LE_OQ)));
}
KINGLET_INLINE void store_i8(std::int8_t* p, V x) {
  const __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(narrow_i32(x.a), narrow_i32(x.b)), 0xd8);
  const __m128i bytes = _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), bytes);
}
KINGLET_INLINE void prefetch(const void* p) { _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T0); }

}  // namespace kinglet::isa_avx2
