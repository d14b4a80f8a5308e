// Sixteen f32 lanes as one zmm register. Only *_avx512.cpp include this.
#pragma once

#include <immintrin.h>

#include <cstdint>

#define KINGLET_INLINE static inline __attribute__((always_inline))

namespace kinglet::isa_avx512 {

constexpr int kMaxAccumulators = 24;  ///< of 32 registers
constexpr int kMaxRows = 6;

struct V {
  __m512 v;
};
struct M {
  __mmask16 m;
};

KINGLET_INLINE V set1(float x) { return {_mm512_set1_ps(x)}; }
KINGLET_INLINE V zero() { return {_mm512_setzero_ps()}; }
KINGLET_INLINE V load(const float* p) { return {_mm512_loadu_ps(p)}; }
KINGLET_INLINE void store(float* p, V a) { _mm512_storeu_ps(p, a.v); }
KINGLET_INLINE __mmask16 first(int n) { return static_cast<__mmask16>((1u << n) - 1u); }
KINGLET_INLINE V load_n(const float* p, int n) { return {_mm512_maskz_loadu_ps(first(n), p)}; }
KINGLET_INLINE void store_n(float* p, V a, int n) { _mm512_mask_storeu_ps(p, first(n), a.v); }
KINGLET_INLINE V add(V a, V b) { return {_mm512_add_ps(a.v, b.v)}; }
KINGLET_INLINE V sub(V a, V b) { return {_mm512_sub_ps(a.v, b.v)}; }
KINGLET_INLINE V mul(V a, V b) { return {_mm512_mul_ps(a.v, b.v)}; }
KINGLET_INLINE V div(V a, V b) { return {_mm512_div_ps(a.v, b.v)}; }
KINGLET_INLINE V vmin(V a, V b) { return {_mm512_min_ps(a.v, b.v)}; }
KINGLET_INLINE V vmax(V a, V b) { return {_mm512_max_ps(a.v, b.v)}; }
KINGLET_INLINE V fma(V a, V b, V c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
KINGLET_INLINE V vabs(V a) { return {_mm512_andnot_ps(_mm512_set1_ps(-0.0f), a.v)}; }
KINGLET_INLINE V copy_sign(V magnitude, V sign) {
  const __m512 bit = _mm512_set1_ps(-0.0f);
  return {_mm512_or_ps(_mm512_andnot_ps(bit, magnitude.v), _mm512_and_ps(bit, sign.v))};
}
KINGLET_INLINE M less(V a, V b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ)}; }
KINGLET_INLINE V select(M m, V yes, V no) { return {_mm512_mask_blend_ps(m.m, no.v, yes.v)}; }
KINGLET_INLINE M lane_range(int begin, int end) {
  const unsigned low = begin <= 0 ? 0u : (begin >= 16 ? 0xffffu : (1u << begin) - 1u);
  const unsigned high = end <= 0 ? 0u : (end >= 16 ? 0xffffu : (1u << end) - 1u);
  return {static_cast<__mmask16>(high & ~low)};
}
KINGLET_INLINE V scale_exponent(V p, V t) {
  return {
      _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(p.v), _mm512_slli_epi32(_mm512_castps_si512(t.v), 23)))};
}
KINGLET_INLINE float sum(V a) {
  const __m256 a8 = _mm256_add_ps(_mm512_castps512_ps256(a.v), _mm512_extractf32x8_ps(a.v, 1));
  const __m128 a4 = _mm_add_ps(_mm256_castps256_ps128(a8), _mm256_extractf128_ps(a8, 1));
  const __m128 a2 = _mm_add_ps(a4, _mm_movehl_ps(a4, a4));
  return _mm_cvtss_f32(_mm_add_ss(a2, _mm_shuffle_ps(a2, a2, 1)));
}
KINGLET_INLINE float maximum(V a) {
  const __m256 a8 = _mm256_max_ps(_mm512_castps512_ps256(a.v), _mm512_extractf32x8_ps(a.v, 1));
  const __m128 a4 = _mm_max_ps(_mm256_castps256_ps128(a8), _mm256_extractf128_ps(a8, 1));
  const __m128 a2 = _mm_max_ps(a4, _mm_movehl_ps(a4, a4));
  return _mm_cvtss_f32(_mm_max_ss(a2, _mm_shuffle_ps(a2, a2, 1)));
}
KINGLET_INLINE V swap_pairs(V a) { return {_mm512_permute_ps(a.v, 0xb1)}; }
KINGLET_INLINE V load_twice(const float* p) {
  const __m512i index = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
  return {_mm512_permutexvar_ps(index, _mm512_castps256_ps512(_mm256_loadu_ps(p)))};
}
KINGLET_INLINE V negate_even(V a) { return {_mm512_mask_xor_ps(a.v, 0x5555, a.v, _mm512_set1_ps(-0.0f))}; }

KINGLET_INLINE V load_f16(const std::uint16_t* p) {
  return {_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))};
}
KINGLET_INLINE V load_bf16(const std::uint16_t* p) {
  const __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  return {_mm512_castsi512_ps(_mm512_slli_epi32(wide, 16))};
}
KINGLET_INLINE V load_i8(const std::int8_t* p) {
  return {_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))))};
}
/// Four bits each: 16 values of a row, of which the low nibbles are one and the high ones the next; and 16 values in 8
/// bytes, the low nibbles before the high ones.
KINGLET_INLINE V widen_u4(__m128i x) {
  return {_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_and_si128(x, _mm_set1_epi8(15))))};
}
KINGLET_INLINE V load_u4_row(const std::uint8_t* p, int high) {
  const __m128i x = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return widen_u4(high != 0 ? _mm_srli_epi16(x, 4) : x);
}
KINGLET_INLINE V load_u4(const std::uint8_t* p) {
  const __m128i x = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
  return widen_u4(_mm_unpacklo_epi64(x, _mm_srli_epi16(x, 4)));
}
KINGLET_INLINE void store_f16(std::uint16_t* p, V a) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtps_ph(a.v, _MM_FROUND_TO_NEAREST_INT));
}
/// By integers: vcvtneps2bf16 takes denormals for zero.
KINGLET_INLINE void store_bf16(std::uint16_t* p, V a) {
  const __m512i u = _mm512_castps_si512(a.v);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(1));
  const __m512i rounded = _mm512_add_epi32(_mm512_add_epi32(u, _mm512_set1_epi32(0x7fff)), odd);
  const __m512i quiet = _mm512_or_si512(u, _mm512_set1_epi32(0x400000));
  const __mmask16 nan = _mm512_cmp_ps_mask(a.v, a.v, _CMP_UNORD_Q);
  const __m512i top = _mm512_srli_epi32(_mm512_mask_blend_epi32(nan, rounded, quiet), 16);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(top));
}
KINGLET_INLINE void store_i8(std::int8_t* p, V a) {
  const __mmask16 fits = _mm512_cmp_ps_mask(_mm512_abs_ps(a.v), _mm512_set1_ps(127.0f), _CMP_LE_OQ);
  const __m512i integers = _mm512_maskz_cvttps_epi32(fits, a.v);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(integers));
}
KINGLET_INLINE void prefetch(const void* p) { _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T0); }

}  // namespace kinglet::isa_avx512
