// Rounding activations with AVX-512: 16 blocks at a time, one block a lane, so that nothing is summed across lanes;
// what is left over, one block at a time. Both follow quantize_scalar-inl.h operation by operation.
#include <immintrin.h>

#include "tensor/kernels/matmul_kernels.h"
#include "tensor/kernels/quantize_step-inl.h"

namespace kinglet {
namespace {

#define KINGLET_UNROLL _Pragma("clang loop unroll(full)")

constexpr int kGroup = 16;
constexpr int kFewBlocks = 4;  // as many cost less one by one than as a group with empty lanes

inline __m512 rounded(__m512 values, __m512 inverse) {
  // Rounds as adding and subtracting kRounder does; only the sign of a zero can differ, which no sum shows.
  return _mm512_roundscale_ps(_mm512_mul_ps(values, inverse), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

inline __m256 add_halves(__m512 v) { return _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1)); }

inline void quantize_one(const float* x, QuantizedBlock* out) {
  const __m512i magnitude_mask = _mm512_set1_epi32(0x7FFFFFFF);
  const __m512 low = _mm512_loadu_ps(x), high = _mm512_loadu_ps(x + 16);
  const __m512i bits = _mm512_max_epu32(_mm512_and_si512(_mm512_castps_si512(low), magnitude_mask),
                                        _mm512_and_si512(_mm512_castps_si512(high), magnitude_mask));
  float inverses[kStepCandidates];
  Step step = first_step(_mm512_reduce_max_epu32(bits), inverses);
  if (step.search) {
    __m256 products[kStepCandidates], squares[kStepCandidates];
    KINGLET_UNROLL for (int c = 0; c < kStepCandidates; ++c) {
      const __m512 inverse = _mm512_set1_ps(inverses[c]);
      const __m512 a = rounded(low, inverse), b = rounded(high, inverse);
      products[c] = add_halves(_mm512_fmadd_ps(high, b, _mm512_mul_ps(low, a)));
      squares[c] = add_halves(_mm512_fmadd_ps(b, b, _mm512_mul_ps(a, a)));
    }
    choose_step(lane_sums(products), lane_sums(squares), inverses, step);
  }
  if (step.inverse == 0) return empty_block(step, out);
  const __m512 inverse = _mm512_set1_ps(step.inverse);
  const __m512i a = _mm512_cvtps_epi32(_mm512_mul_ps(low, inverse));
  const __m512i b = _mm512_cvtps_epi32(_mm512_mul_ps(high, inverse));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(out->codes), _mm512_cvtepi32_epi8(a));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(out->codes + 16), _mm512_cvtepi32_epi8(b));
  finish_block(step, _mm512_reduce_add_epi32(a), _mm512_reduce_add_epi32(b), out);
}

// columns[i] = element i of each of 16 rows of 16, `stride` floats apart.
inline void transpose(const float* rows, std::size_t stride, __m512* columns) {
  __m512i a[16], b[16];
  KINGLET_UNROLL for (int r = 0; r < 16; ++r) a[r] = _mm512_loadu_si512(rows + r * stride);
  KINGLET_UNROLL for (int r = 0; r < 16; r += 2) {
    b[r] = _mm512_unpacklo_epi32(a[r], a[r + 1]);
    b[r + 1] = _mm512_unpackhi_epi32(a[r], a[r + 1]);
  }
  KINGLET_UNROLL for (int r = 0; r < 16; r += 4) {  // a[r + c]: columns c, 4 + c, 8 + c, 12 + c of rows r..r+3
    a[r] = _mm512_unpacklo_epi64(b[r], b[r + 2]);
    a[r + 1] = _mm512_unpackhi_epi64(b[r], b[r + 2]);
    a[r + 2] = _mm512_unpacklo_epi64(b[r + 1], b[r + 3]);
    a[r + 3] = _mm512_unpackhi_epi64(b[r + 1], b[r + 3]);
  }
  KINGLET_UNROLL for (int c = 0; c < 4; ++c) {
    const __m512i even01 = _mm512_shuffle_i32x4(a[c], a[c + 4], 0x88),
                  odd01 = _mm512_shuffle_i32x4(a[c], a[c + 4], 0xDD);
    const __m512i even23 = _mm512_shuffle_i32x4(a[c + 8], a[c + 12], 0x88);
    const __m512i odd23 = _mm512_shuffle_i32x4(a[c + 8], a[c + 12], 0xDD);
    columns[c] = _mm512_castsi512_ps(_mm512_shuffle_i32x4(even01, even23, 0x88));
    columns[c + 8] = _mm512_castsi512_ps(_mm512_shuffle_i32x4(even01, even23, 0xDD));
    columns[c + 4] = _mm512_castsi512_ps(_mm512_shuffle_i32x4(odd01, odd23, 0x88));
    columns[c + 12] = _mm512_castsi512_ps(_mm512_shuffle_i32x4(odd01, odd23, 0xDD));
  }
}

// Sum of the products of values and codes of the inputs First, First + Step, First + 2 Step … (below 16) and of their
// partners 16 on, in the order of lane_sum. The squares of the codes are exact in any order.
template <int First, int Step>
inline __m512 product_sum(const __m512* x, __m512 inverse, __m512 (&squares)[2]) {
  if constexpr (Step == 16) {
    const __m512 a = rounded(x[First], inverse), b = rounded(x[First + 16], inverse);
    squares[0] = _mm512_fmadd_ps(a, a, squares[0]);
    squares[1] = _mm512_fmadd_ps(b, b, squares[1]);
    return _mm512_fmadd_ps(x[First + 16], b, _mm512_mul_ps(x[First], a));
  } else {
    const __m512 even = product_sum<First, 2 * Step>(x, inverse, squares);
    return _mm512_add_ps(even, product_sum<First + Step, 2 * Step>(x, inverse, squares));
  }
}

struct Steps {  // of 16 blocks; lanes outside `valid` have no codes
  __m512 inverse, scale;
  __mmask16 valid;
};

inline Steps choose_steps(const __m512* x) {
  const __m512i magnitude_mask = _mm512_set1_epi32(0x7FFFFFFF);
  __m512i bits = _mm512_setzero_si512();
  KINGLET_UNROLL for (int i = 0; i < 32; ++i) bits =
      _mm512_max_epu32(bits, _mm512_and_si512(_mm512_castps_si512(x[i]), magnitude_mask));
  const __m512 magnitude = _mm512_castsi512_ps(bits), largest_code = _mm512_set1_ps(kLargestCode);
  const __mmask16 infinite = _mm512_cmpge_epu32_mask(bits, _mm512_set1_epi32(kInfinityBits));
  const __mmask16 large = _mm512_cmpge_epu32_mask(bits, _mm512_set1_epi32(kLargeBits));
  const __mmask16 small = _mm512_cmplt_epu32_mask(bits, _mm512_set1_epi32(kSmallestBits));

  Steps best = {_mm512_setzero_ps(), _mm512_setzero_ps(), static_cast<__mmask16>(~(infinite | small))};
  __m512 best_score = _mm512_set1_ps(-1);
  _Pragma("clang loop unroll(disable)") for (int candidate = 0; candidate < kStepCandidates; ++candidate) {
    const __m512 inverse = _mm512_div_ps(_mm512_set1_ps(kLargestCode - static_cast<float>(candidate)), magnitude);
    __m512 squares[2] = {_mm512_setzero_ps(), _mm512_setzero_ps()};
    const __m512 product = product_sum<0, 1>(x, inverse, squares);
    const __m512 scale = _mm512_div_ps(product, _mm512_add_ps(squares[0], squares[1]));
    const __m512 score = _mm512_mul_ps(product, scale);
    const __mmask16 better = _mm512_cmp_ps_mask(score, best_score, _CMP_GT_OQ);
    best_score = _mm512_mask_mov_ps(best_score, better, score);
    best.scale = _mm512_mask_mov_ps(best.scale, better, scale);
    best.inverse = _mm512_mask_mov_ps(best.inverse, better, inverse);
  }
  best.inverse = _mm512_mask_div_ps(best.inverse, large, largest_code, magnitude);
  best.scale = _mm512_mask_div_ps(best.scale, large, magnitude, largest_code);
  best.scale = _mm512_mask_mov_ps(best.scale, small, _mm512_setzero_ps());
  best.scale = _mm512_mask_mov_ps(best.scale, infinite, _mm512_castsi512_ps(_mm512_set1_epi32(kQuietNan)));
  return best;
}

// Four codes of a lane in one dword.
inline __m512i join(const __m512i* codes) {
  constexpr int kSelect = 0xCA;  // first operand ? second : third
  __m512i joined =
      _mm512_ternarylogic_epi32(_mm512_set1_epi32(0xFF), codes[0], _mm512_slli_epi32(codes[1], 8), kSelect);
  joined = _mm512_ternarylogic_epi32(_mm512_set1_epi32(0xFFFF), joined, _mm512_slli_epi32(codes[2], 16), kSelect);
  return _mm512_ternarylogic_epi32(_mm512_set1_epi32(0xFFFFFF), joined, _mm512_slli_epi32(codes[3], 24), kSelect);
}

// Writes vectors of four dwords a lane: element j of lane l to byte `offset` + 4j of block l.
inline void scatter_fours(const __m512i (&v)[4], int offset, int count, QuantizedBlock* out) {
  const __m512i ab = _mm512_unpacklo_epi32(v[0], v[1]), AB = _mm512_unpackhi_epi32(v[0], v[1]);
  const __m512i cd = _mm512_unpacklo_epi32(v[2], v[3]), CD = _mm512_unpackhi_epi32(v[2], v[3]);
  const __m512i lanes[4] = {_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd), _mm512_unpacklo_epi64(AB, CD),
                            _mm512_unpackhi_epi64(AB, CD)};  // lanes[j]: blocks j, 4 + j, 8 + j, 12 + j
  alignas(64) unsigned char bytes[4][64];
  KINGLET_UNROLL for (int j = 0; j < 4; ++j) _mm512_store_si512(bytes[j], lanes[j]);
  for (int block = 0; block < count; ++block)
    __builtin_memcpy(reinterpret_cast<unsigned char*>(out + block) + offset, bytes[block % 4] + 16 * (block / 4), 16);
}

// The first `count` of 16 blocks that lie at x.
inline void quantize_group(const float* x, int count, QuantizedBlock* out) {
  __m512 columns[32];
  transpose(x, 32, columns);
  transpose(x + 16, 32, columns + 16);
  const Steps steps = choose_steps(columns);
  __m512i halves[2] = {_mm512_setzero_si512(), _mm512_setzero_si512()}, quads[8];
  KINGLET_UNROLL for (int quad = 0; quad < 8; ++quad) {
    __m512i codes[4];
    KINGLET_UNROLL for (int i = 0; i < 4; ++i) {
      codes[i] = _mm512_maskz_cvtps_epi32(steps.valid, _mm512_mul_ps(columns[4 * quad + i], steps.inverse));
      halves[quad / 4] = _mm512_sub_epi32(halves[quad / 4], codes[i]);
    }
    quads[quad] = join(codes);
  }
  const __m512i sum = _mm512_add_epi32(halves[0], halves[1]);
  scatter_fours({quads[0], quads[1], quads[2], quads[3]}, 0, count, out);
  scatter_fours({quads[4], quads[5], quads[6], quads[7]}, 16, count, out);
  scatter_fours({_mm512_castps_si512(steps.scale), _mm512_castps_si512(_mm512_cvtepi32_ps(sum)), sum, halves[0]}, 32,
                count, out);
}

}  // namespace

void quantize_blocks_avx512(const float* x, std::int64_t blocks, QuantizedBlock* out) {
  std::int64_t block = 0;
  for (; blocks - block >= kGroup; block += kGroup) quantize_group(x + 32 * block, kGroup, out + block);
  const int rest = static_cast<int>(blocks - block);
  if (rest > kFewBlocks) {
    alignas(64) float padded[kGroup * 32] = {};
    __builtin_memcpy(padded, x + 32 * block, sizeof(float) * 32 * static_cast<std::size_t>(rest));
    quantize_group(padded, rest, out + block);
    return;
  }
  for (; block < blocks; ++block) quantize_one(x + 32 * block, out + block);
}

}  // namespace kinglet
