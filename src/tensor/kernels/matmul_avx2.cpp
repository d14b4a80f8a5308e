// AVX2: as AVX-512, with half a tile a vector. vpmaddubsw adds two products of unsigned codes and signed activations in
// 16 bits, where as many of them as cannot overflow are added before they are widened.
#include <immintrin.h>

#include "tensor/kernels/lookup.h"
#include "tensor/kernels/matmul_kernels.h"
#include "tensor/kernels/quantize_step-inl.h"

namespace kinglet {
namespace {

#include "tensor/kernels/matmul_driver-inl.h"

#define KINGLET_UNROLL _Pragma("clang loop unroll(full)")

constexpr int kPrefetchBytes = 4096;
constexpr int kHalfLanes = 8;

inline __m256i line(const unsigned char* from) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)); }

inline __m256i broadcast_int(const void* from) {
  int value;
  __builtin_memcpy(&value, from, sizeof value);
  return _mm256_set1_epi32(value);
}

// Moves the bits from position `From` of each byte to position `To` (others are moved too: mask them).
template <int From, int To>
inline __m256i move_bits(__m256i bytes) {
  if constexpr (From > To) return _mm256_srli_epi16(bytes, From - To);
  if constexpr (From < To) return _mm256_slli_epi16(bytes, To - From);
  return bytes;
}

template <int From>
inline __m256i merge(__m256i low, __m256i high, __m256i mask) {
  return _mm256_or_si256(low, _mm256_and_si256(move_bits<From, 4>(high), mask));
}

// Bits `mask` of `high`, the other bits of `low`.
inline __m256i select(__m256i low, __m256i high, __m256i mask) {
  return _mm256_xor_si256(low, _mm256_and_si256(_mm256_xor_si256(low, high), mask));
}

// A table of 16 values, or of the 64 levels of a trellis.
struct Book {
  __m256i part[4];
};

// Of the 64 levels of a trellis; the upper two bits of the indices are not looked at.
inline __m256i look_up(const Book& book, __m256i index) {
  const __m256i low = _mm256_and_si256(index, _mm256_set1_epi8(15));
  const __m256i fourth = _mm256_slli_epi16(index, 3), fifth = _mm256_slli_epi16(index, 2);
  const __m256i a =
      _mm256_blendv_epi8(_mm256_shuffle_epi8(book.part[0], low), _mm256_shuffle_epi8(book.part[1], low), fourth);
  const __m256i b =
      _mm256_blendv_epi8(_mm256_shuffle_epi8(book.part[2], low), _mm256_shuffle_epi8(book.part[3], low), fourth);
  return _mm256_blendv_epi8(a, b, fifth);
}

// x of the quads 6 and 7 of a four-bit trellis, from the three lines' upper bits (others are left in the upper two).
inline __m256i last_quads(const unsigned char* at) {
  const __m256i low = select(_mm256_srli_epi16(line(at), 6), _mm256_srli_epi16(line(at + 64), 4), _mm256_set1_epi8(12));
  return select(low, _mm256_srli_epi16(line(at + 128), 2), _mm256_set1_epi8(48));
}

// Levels of one quad of a trellis. `choices`: as choices_before of matmul_avx512.cpp for the quads 0 to 3, as stored
// for the others.
template <TileFormat F, int Quad>
inline __m256i trellis_quad(const unsigned char* block, const Book& book, __m256i choices) {
  constexpr int kMemory = F.memory(), kX = kMemory + 1;
  const __m256i field = move_bits<(Quad < 4 ? Quad : Quad - kMemory), 0>(choices);
  const __m256i mask = _mm256_set1_epi8((2 << kMemory) - 1);
  const unsigned char* at = block + 64;
  __m256i index = field;
  if constexpr (F.width == 2) index = select(move_bits<trellis_x_bit(Quad), kX>(line(at)), field, mask);
  if constexpr (F.width == 3) index = select(move_bits<Quad % 4 * 2, kX>(line(at + 64 * (Quad / 4))), field, mask);
  if constexpr (F.width == 4) {
    const __m256i x = Quad < 6 ? line(at + 64 * (Quad / 2)) : last_quads(at);
    index = select(move_bits<Quad % 2 * 3, kX>(x), field, mask);
  }
  if constexpr (F.width == 5) index = select(move_bits<Quad % 2 * 4, kX>(line(at + 64 * (Quad / 2))), field, mask);
  return look_up(book, index);
}

template <TileFormat F>
inline void unpack_trellis(const unsigned char* block, const Book& book, __m256i (&codes)[8]) {
  const __m256i choices = line(block);
  __m256i before = choices;
  if constexpr (F.memory() > 0) {
    before =
        select(_mm256_slli_epi16(choices, F.memory()), _mm256_srli_epi16(_mm256_slli_epi32(choices, 8), 8 - F.memory()),
               _mm256_set1_epi8((1 << F.memory()) - 1));
  }
  codes[0] = trellis_quad<F, 0>(block, book, before);
  codes[1] = trellis_quad<F, 1>(block, book, before);
  codes[2] = trellis_quad<F, 2>(block, book, before);
  codes[3] = trellis_quad<F, 3>(block, book, before);
  codes[4] = trellis_quad<F, 4>(block, book, choices);
  codes[5] = trellis_quad<F, 5>(block, book, choices);
  codes[6] = trellis_quad<F, 6>(block, book, choices);
  codes[7] = trellis_quad<F, 7>(block, book, choices);
}

// Code of one quad from bit planes, in an odd format: twice the stored one.
template <TileFormat F, int Quad, int Plane = 0>
inline __m256i plane_quad(const unsigned char* block) {
  const __m256i bits =
      _mm256_and_si256(move_bits<Quad, Plane + 1>(line(block + 64 * Plane)), _mm256_set1_epi8(2 << Plane));
  if constexpr (Plane + 1 == F.width)
    return bits;
  else
    return _mm256_or_si256(bits, plane_quad<F, Quad, Plane + 1>(block));
}

template <TileFormat F, int Quad = 0>
inline void unpack_planes(const unsigned char* block, __m256i (&codes)[8]) {
  codes[Quad] = plane_quad<F, Quad>(block);
  if constexpr (Quad < 7) unpack_planes<F, Quad + 1>(block, codes);
}

// Codes of half a block, quad by quad: unsigned as stored (twice that in odd formats), or signed where 8 bits are
// needed.
template <TileFormat F>
inline void unpack_codes(const unsigned char* block, const Book& book, __m256i (&codes)[8]) {
  if constexpr (F.trellis && F.width < 6) return unpack_trellis<F>(block, book, codes);
  if constexpr (F.width == 1 || F.planes) return unpack_planes<F>(block, codes);
  constexpr int kUp = F.odd ? 1 : 0;
  if constexpr (F.width <= 3) {
    const __m256i low = _mm256_set1_epi8(3 << kUp);
    KINGLET_UNROLL for (int i = 0; i < 2; ++i) {
      const __m256i four = line(block + 64 * i);
      codes[4 * i] = _mm256_and_si256(move_bits<0, kUp>(four), low);
      codes[4 * i + 1] = _mm256_and_si256(move_bits<2, kUp>(four), low);
      codes[4 * i + 2] = _mm256_and_si256(move_bits<4, kUp>(four), low);
      codes[4 * i + 3] = _mm256_and_si256(move_bits<6, kUp>(four), low);
    }
    if constexpr (F.width == 3) {
      const __m256i bits = line(block + 128), mask = _mm256_set1_epi8(4 << kUp);
      const auto add = [&](__m256i& code, __m256i moved) {
        code = _mm256_or_si256(code, _mm256_and_si256(moved, mask));
      };
      add(codes[0], move_bits<0, 2 + kUp>(bits));
      add(codes[1], move_bits<1, 2 + kUp>(bits));
      add(codes[2], move_bits<2, 2 + kUp>(bits));
      add(codes[3], move_bits<3, 2 + kUp>(bits));
      add(codes[4], move_bits<4, 2 + kUp>(bits));
      add(codes[5], move_bits<5, 2 + kUp>(bits));
      add(codes[6], move_bits<6, 2 + kUp>(bits));
      add(codes[7], move_bits<7, 2 + kUp>(bits));
    }
    return;
  }
  if constexpr (F.width == 8) {
    const __m256i bias = _mm256_set1_epi8(static_cast<char>(0x80));
    KINGLET_UNROLL for (int quad = 0; quad < 8; ++quad) codes[quad] = _mm256_xor_si256(line(block + 64 * quad), bias);
    return;
  }
  const __m256i nibble = _mm256_set1_epi8(15 << kUp);
  KINGLET_UNROLL for (int i = 0; i < 4; ++i) {
    const __m256i both = line(block + 64 * i);
    codes[2 * i] = _mm256_and_si256(move_bits<0, kUp>(both), nibble);
    codes[2 * i + 1] = _mm256_and_si256(move_bits<4, kUp>(both), nibble);
  }
  if constexpr (F.codebook) {
    KINGLET_UNROLL for (int quad = 0; quad < 8; ++quad) codes[quad] = _mm256_shuffle_epi8(book.part[0], codes[quad]);
  }
  if constexpr (F.width == 5) {
    const __m256i bits = line(block + 256), mask = _mm256_set1_epi8(16);
    codes[0] = merge<0>(codes[0], bits, mask);
    codes[1] = merge<1>(codes[1], bits, mask);
    codes[2] = merge<2>(codes[2], bits, mask);
    codes[3] = merge<3>(codes[3], bits, mask);
    codes[4] = merge<4>(codes[4], bits, mask);
    codes[5] = merge<5>(codes[5], bits, mask);
    codes[6] = merge<6>(codes[6], bits, mask);
    codes[7] = merge<7>(codes[7], bits, mask);
  }
  if constexpr (F.width == 6) {
    const __m256i mask = _mm256_set1_epi8(48);
    KINGLET_UNROLL for (int i = 0; i < 2; ++i) {
      const __m256i bits = line(block + 256 + 64 * i);
      codes[4 * i] = merge<0>(codes[4 * i], bits, mask);
      codes[4 * i + 1] = merge<2>(codes[4 * i + 1], bits, mask);
      codes[4 * i + 2] = merge<4>(codes[4 * i + 2], bits, mask);
      codes[4 * i + 3] = merge<6>(codes[4 * i + 3], bits, mask);
    }
  }
  if constexpr (F.trellis) {
    KINGLET_UNROLL for (int quad = 0; quad < 8; ++quad) codes[quad] = look_up(book, codes[quad]);
  }
}

inline __m256 halves(const unsigned char* from) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
}

// Scales of half `half` of the lanes.
template <TileFormat F>
inline __m256 load_scale(const unsigned char* from, int half, __m256 unit) {
  from += half * kHalfLanes * F.scale_size();
  if constexpr (F.scales == ScaleForm::kFloat16) return halves(from);
  if constexpr (F.scales == ScaleForm::kFloat32) return _mm256_loadu_ps(reinterpret_cast<const float*>(from));
  if constexpr (F.scales == ScaleForm::kFloat8) {
    const __m128i words = _mm_cvtepu8_epi16(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(from)));
    return _mm256_mul_ps(_mm256_cvtph_ps(_mm_slli_epi16(words, 8)), _mm256_set1_ps(0x1p-8f));
  }
  const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(from));
  return _mm256_mul_ps(unit, _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes)));
}

// Exact sums over the quads [First, Last), starting from the bias times minus the sum of the activations' codes.
template <TileFormat F, int First, int Last>
inline __m256i dot(__m256i negative_sum, const __m256i (&codes)[8], const QuantizedBlock& q) {
  constexpr bool kSigned = F.width == 8 || F.table();
  // Products of two codes that fit 16 bits: 2 * 15 * 127 * 8, 2 * 31 * 127 * 4, 2 * 63 * 127 * 2, 2 * 128 * 127.
  constexpr int kCodeBits = F.width + (F.odd ? 1 : 0);
  constexpr int kFitting = kSigned ? 1 : kCodeBits <= 4 ? 8 : kCodeBits == 5 ? 4 : 2;
  const __m256i ones = _mm256_set1_epi16(1);
  __m256i sum = _mm256_setzero_si256();
  if constexpr (F.odd) sum = _mm256_sub_epi32(_mm256_slli_epi32(negative_sum, F.width), negative_sum);
  if constexpr (F.biased && !kSigned) sum = _mm256_slli_epi32(negative_sum, F.width - 1);
  KINGLET_UNROLL for (int begin = First; begin < Last; begin += kFitting) {
    __m256i pairs = _mm256_setzero_si256();
    KINGLET_UNROLL for (int quad = begin; quad < begin + kFitting && quad < Last; ++quad) {
      const __m256i x = broadcast_int(q.codes + 4 * quad);
      const __m256i products =
          kSigned ? _mm256_maddubs_epi16(_mm256_abs_epi8(codes[quad]), _mm256_sign_epi8(x, codes[quad]))
                  : _mm256_maddubs_epi16(codes[quad], x);
      pairs = quad == begin ? products : _mm256_add_epi16(pairs, products);
    }
    sum = _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, ones));
  }
  return sum;
}

template <TileFormat F>
inline __m256 block_value(const __m256i (&codes)[8], const __m256 (&scales)[2], const __m256 (&minimums)[2],
                          const QuantizedBlock& q) {
  __m256 value;
  if constexpr (F.groups() == 1) {
    value = _mm256_mul_ps(_mm256_cvtepi32_ps(dot<F, 0, 8>(broadcast_int(&q.negative_sum), codes, q)), scales[0]);
    if constexpr (F.minimum) value = _mm256_fmadd_ps(minimums[0], _mm256_set1_ps(q.negative_sum_float), value);
  } else {
    const __m256i first = broadcast_int(&q.negative_half);
    const __m256i second = _mm256_sub_epi32(broadcast_int(&q.negative_sum), first);
    value = _mm256_mul_ps(_mm256_cvtepi32_ps(dot<F, 0, 4>(first, codes, q)), scales[0]);
    value = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot<F, 4, 8>(second, codes, q)), scales[1], value);
    if constexpr (F.minimum) {
      value = _mm256_fmadd_ps(minimums[0], _mm256_cvtepi32_ps(first), value);
      value = _mm256_fmadd_ps(minimums[1], _mm256_cvtepi32_ps(second), value);
    }
  }
  return value;
}

template <int Format>
inline __m256 load_weights(const unsigned char* from) {
  if constexpr (Format == kTileFloat32) return _mm256_loadu_ps(reinterpret_cast<const float*>(from));
  if constexpr (Format == kTileFloat16) return halves(from);
  const __m128i words = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(words), 16));
}

inline __m256i largest_bits(__m256i largest, __m256 values) {
  const __m256i bits = _mm256_and_si256(_mm256_castps_si256(values), _mm256_set1_epi32(0x7FFFFFFF));
  return _mm256_max_epu32(largest, bits);
}

inline unsigned reduce_largest(__m256i bits) {
  __m128i most = _mm_max_epu32(_mm256_castsi256_si128(bits), _mm256_extracti128_si256(bits, 1));
  most = _mm_max_epu32(most, _mm_shuffle_epi32(most, 0x4E));
  return static_cast<unsigned>(_mm_cvtsi128_si32(_mm_max_epu32(most, _mm_shuffle_epi32(most, 0xB1))));
}

inline int reduce_sum(__m256i values) {
  __m128i sum = _mm_add_epi32(_mm256_castsi256_si128(values), _mm256_extracti128_si256(values, 1));
  sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0x4E));
  return _mm_cvtsi128_si32(_mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0xB1)));
}

// quads[b] = bytes 4b..4b+3 of each of 8 rows.
inline void transpose_rows(const std::uint8_t* rows, std::size_t stride, __m256i (&quads)[8]) {
  __m256i two[8], four[8];
  KINGLET_UNROLL for (int r = 0; r < 8; r += 2) {
    const __m256i a = line(rows + r * stride), b = line(rows + (r + 1) * stride);
    two[r] = _mm256_unpacklo_epi32(a, b);
    two[r + 1] = _mm256_unpackhi_epi32(a, b);
  }
  KINGLET_UNROLL for (int r = 0; r < 8; r += 4) {
    four[r] = _mm256_unpacklo_epi64(two[r], two[r + 2]);  // quads 0 | 4 of four rows
    four[r + 1] = _mm256_unpackhi_epi64(two[r], two[r + 2]);
    four[r + 2] = _mm256_unpacklo_epi64(two[r + 1], two[r + 3]);
    four[r + 3] = _mm256_unpackhi_epi64(two[r + 1], two[r + 3]);
  }
  KINGLET_UNROLL for (int q = 0; q < 4; ++q) {
    quads[q] = _mm256_permute2x128_si256(four[q], four[q + 4], 0x20);
    quads[q + 4] = _mm256_permute2x128_si256(four[q], four[q + 4], 0x31);
  }
}

inline void store(unsigned char* to, __m256i bytes) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), bytes); }

#include "tensor/kernels/lookup_avx2-inl.h"

struct Kernels : Lookup {
  using PairRowCounts = Counts<1>;
  static constexpr int kPairsFrom = 0;
  using RowCounts = RowCountsOf<4, 2, 1>;
  using FloatRowCounts = RowCountsOf<4, 2, 1>;

  template <int Format, int R>
  static inline void run(const unsigned char* tile, std::int64_t units, const unsigned char* x, std::size_t x_stride,
                         const std::int8_t* codebook, bool prefetch, float* sums) {
    constexpr TileFormat F = kTileFormats[Format];
    Book book = {};
    KINGLET_UNROLL for (int part = 0; part < (F.trellis    ? 4
                                              : F.codebook ? 1
                                                           : 0);
                        ++part) book.part[part] =
        _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(codebook + 16 * part)));
    __m256 totals[2][R];
    KINGLET_UNROLL for (int r = 0; r < R; ++r) {
      totals[0][r] = _mm256_load_ps(sums + kLanes * r);
      totals[1][r] = _mm256_load_ps(sums + kLanes * r + kHalfLanes);
    }
    for (std::int64_t u = 0; u < units; ++u) {
      const unsigned char* header = tile;
      tile += F.header_bytes();
      _Pragma("clang loop unroll(disable)") for (int b = 0; b < F.blocks_per_unit(); ++b) {
        if (prefetch) {
          KINGLET_UNROLL for (int ahead = 0; ahead < F.block_bytes(); ahead += 64)
              _mm_prefetch(reinterpret_cast<const char*>(tile + kPrefetchBytes + ahead), _MM_HINT_T0);
        }
        KINGLET_UNROLL for (int half = 0; half < 2; ++half) {
          __m256i codes[8];
          unpack_codes<F>(tile + 32 * half, book, codes);
          __m256 scales[2], minimums[2], unit = _mm256_setzero_ps(), minimum_unit = unit;
          if constexpr (F.header_bytes() > 0) unit = halves(header + 16 * half);
          if constexpr (F.header_bytes() > 32) minimum_unit = halves(header + 32 + 16 * half);
          KINGLET_UNROLL for (int group = 0; group < F.groups(); ++group) {
            const unsigned char* at = tile + F.code_bytes() + kLanes * F.scale_size() * group;
            scales[group] = load_scale<F>(at, half, unit);
            if constexpr (F.minimum) minimums[group] = load_scale<F>(at + F.scale_bytes(), half, minimum_unit);
          }
          KINGLET_UNROLL for (int r = 0; r < R; ++r) {
            const auto& q = *reinterpret_cast<const QuantizedBlock*>(x + r * x_stride);
            totals[half][r] =
                _mm256_fmadd_ps(block_value<F>(codes, scales, minimums, q), _mm256_set1_ps(q.scale), totals[half][r]);
          }
        }
        tile += F.block_bytes();
        x += sizeof(QuantizedBlock);
      }
    }
    KINGLET_UNROLL for (int r = 0; r < R; ++r) {
      _mm256_store_ps(sums + kLanes * r, totals[0][r]);
      _mm256_store_ps(sums + kLanes * r + kHalfLanes, totals[1][r]);
    }
  }

  template <int Format, int R>
  static inline void run_float(const unsigned char* tile, std::int64_t inputs, const unsigned char* x,
                               std::size_t x_stride, bool prefetch, float* sums) {
    constexpr int kBytes = Format == kTileFloat32 ? 64 : 32;
    __m256 totals[2][R];
    KINGLET_UNROLL for (int r = 0; r < R; ++r) {
      totals[0][r] = _mm256_load_ps(sums + kLanes * r);
      totals[1][r] = _mm256_load_ps(sums + kLanes * r + kHalfLanes);
    }
    for (std::int64_t i = 0; i < inputs; ++i, tile += kBytes, x += sizeof(float)) {
      if (prefetch) _mm_prefetch(reinterpret_cast<const char*>(tile + kPrefetchBytes), _MM_HINT_T0);
      const __m256 low = load_weights<Format>(tile), high = load_weights<Format>(tile + kBytes / 2);
      KINGLET_UNROLL for (int r = 0; r < R; ++r) {
        const __m256 value = _mm256_broadcast_ss(reinterpret_cast<const float*>(x + r * x_stride));
        totals[0][r] = _mm256_fmadd_ps(low, value, totals[0][r]);
        totals[1][r] = _mm256_fmadd_ps(high, value, totals[1][r]);
      }
    }
    KINGLET_UNROLL for (int r = 0; r < R; ++r) {
      _mm256_store_ps(sums + kLanes * r, totals[0][r]);
      _mm256_store_ps(sums + kLanes * r + kHalfLanes, totals[1][r]);
    }
  }

  static void quantize_blocks(const float* x, std::int64_t blocks, QuantizedBlock* out);
  static void interleave(const std::uint8_t* rows, std::size_t stride, int width, unsigned char* out);
};

void Kernels::quantize_blocks(const float* x, std::int64_t blocks, QuantizedBlock* out) {
  for (std::int64_t b = 0; b < blocks; ++b, x += 32, ++out) {
    __m256 values[4];
    __m256i bits = _mm256_setzero_si256();
    KINGLET_UNROLL for (int i = 0; i < 4; ++i) {
      values[i] = _mm256_loadu_ps(x + 8 * i);
      bits = largest_bits(bits, values[i]);
    }
    float inverses[kStepCandidates];
    Step step = first_step(reduce_largest(bits), inverses);
    if (step.search) {
      __m256 products[kStepCandidates], squares[kStepCandidates];
      for (int c = 0; c < kStepCandidates; ++c) {
        const __m256 inverse = _mm256_set1_ps(inverses[c]), rounder = _mm256_set1_ps(kRounder);
        __m256 product[2], square[2];
        KINGLET_UNROLL for (int i = 0; i < 2; ++i) {  // lanes 8i..8i+7: inputs 8i.. and 16 + 8i..
          const __m256 a = _mm256_sub_ps(_mm256_add_ps(_mm256_mul_ps(values[i], inverse), rounder), rounder);
          const __m256 d = _mm256_sub_ps(_mm256_add_ps(_mm256_mul_ps(values[i + 2], inverse), rounder), rounder);
          product[i] = _mm256_fmadd_ps(values[i + 2], d, _mm256_mul_ps(values[i], a));
          square[i] = _mm256_fmadd_ps(d, d, _mm256_mul_ps(a, a));
        }
        products[c] = _mm256_add_ps(product[0], product[1]);
        squares[c] = _mm256_add_ps(square[0], square[1]);
      }
      choose_step(lane_sums(products), lane_sums(squares), inverses, step);
    }
    if (step.inverse == 0) {
      empty_block(step, out);
      continue;
    }
    const __m256 inverse = _mm256_set1_ps(step.inverse);
    __m256i codes[4];
    KINGLET_UNROLL for (int i = 0; i < 4; ++i) codes[i] = _mm256_cvtps_epi32(_mm256_mul_ps(values[i], inverse));
    const __m256i words0 = _mm256_packs_epi32(codes[0], codes[1]), words1 = _mm256_packs_epi32(codes[2], codes[3]);
    const __m256i bytes = _mm256_packs_epi16(words0, words1);  // fours: 0, 2 (of 8), …, put in order
    store(reinterpret_cast<unsigned char*>(out->codes),
          _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7)));
    finish_block(step, reduce_sum(_mm256_add_epi32(codes[0], codes[1])),
                 reduce_sum(_mm256_add_epi32(codes[2], codes[3])), out);
  }
}

// Codes of one bit.
inline void interleave_bits(const __m256i (&quads)[8], unsigned char* out) {
  __m256i bits = _mm256_setzero_si256();
  KINGLET_UNROLL for (int quad = 7; quad >= 0; --quad) {
    bits = _mm256_add_epi8(bits, bits);
    bits = _mm256_or_si256(bits, _mm256_and_si256(quads[quad], _mm256_set1_epi8(1)));
  }
  store(out, bits);
}

// Codes of 2 or 3 bits.
inline void interleave_narrow(const __m256i (&quads)[8], int width, unsigned char* out) {
  const __m256i pair = _mm256_set1_epi8(3), bit = _mm256_set1_epi8(4);
  KINGLET_UNROLL for (int i = 0; i < 2; ++i) {
    __m256i bits = _mm256_setzero_si256();
    KINGLET_UNROLL for (int quad = 3; quad >= 0; --quad) {
      bits = _mm256_slli_epi16(bits, 2);  // the upper bits of a byte are still clear
      bits = _mm256_or_si256(bits, _mm256_and_si256(quads[4 * i + quad], pair));
    }
    store(out + 64 * i, bits);
  }
  if (width == 2) return;
  __m256i bits = _mm256_setzero_si256();
  KINGLET_UNROLL for (int quad = 7; quad >= 0; --quad) {
    bits = _mm256_add_epi8(bits, bits);
    bits = _mm256_or_si256(bits, _mm256_srli_epi16(_mm256_and_si256(quads[quad], bit), 2));
  }
  store(out + 128, bits);
}

void Kernels::interleave(const std::uint8_t* rows, std::size_t stride, int width, unsigned char* out) {
  for (int half = 0; half < 2; ++half, rows += 8 * stride, out += 32) {
    __m256i quads[8];
    transpose_rows(rows, stride, quads);
    if (width == 8) {
      KINGLET_UNROLL for (int quad = 0; quad < 8; ++quad) store(out + 64 * quad, quads[quad]);
      continue;
    }
    if (width == 1) {
      interleave_bits(quads, out);
      continue;
    }
    if (width <= 3) {
      interleave_narrow(quads, width, out);
      continue;
    }
    const __m256i low = _mm256_set1_epi8(15), bit = _mm256_set1_epi8(16), pair = _mm256_set1_epi8(48);
    KINGLET_UNROLL for (int i = 0; i < 4; ++i) {
      const __m256i upper = _mm256_slli_epi16(_mm256_and_si256(quads[2 * i + 1], low), 4);
      store(out + 64 * i, _mm256_or_si256(_mm256_and_si256(quads[2 * i], low), upper));
    }
    if (width == 5) {
      __m256i bits = _mm256_setzero_si256();
      KINGLET_UNROLL for (int quad = 7; quad >= 0; --quad) {
        bits = _mm256_add_epi8(bits, bits);
        bits = _mm256_or_si256(bits, _mm256_srli_epi16(_mm256_and_si256(quads[quad], bit), 4));
      }
      store(out + 256, bits);
    }
    if (width == 6) {
      KINGLET_UNROLL for (int i = 0; i < 2; ++i) {
        __m256i bits = _mm256_setzero_si256();
        KINGLET_UNROLL for (int quad = 3; quad >= 0; --quad) {
          bits = _mm256_slli_epi16(bits, 2);  // the upper bits of a byte are still clear
          bits = _mm256_or_si256(bits, _mm256_srli_epi16(_mm256_and_si256(quads[4 * i + quad], pair), 4));
        }
        store(out + 256 + 64 * i, bits);
      }
    }
  }
}

#if defined(KINGLET_FEW_KERNELS)
#pragma clang attribute pop
#endif

}  // namespace

const MatmulKernels matmul_kernels_avx2 = make_kernels<Kernels>();

}  // namespace kinglet
