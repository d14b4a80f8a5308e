// AVX-512 VNNI: a tile's 16 outputs are the lanes of one vector; vpdpbusd multiplies four unsigned stored codes of each
// lane by the same four signed activations, broadcast from memory.
#include <immintrin.h>

#include "tensor/kernels/lookup.h"
#include "tensor/kernels/matmul_kernels.h"

namespace kinglet {
namespace {

#include "tensor/kernels/matmul_driver-inl.h"

#define KINGLET_UNROLL _Pragma("clang loop unroll(full)")

// How far ahead of the multiplication the weights are fetched; crossing the tiles' ends, since a thread's tiles follow
// one another in memory.
template <int R>
constexpr int kPrefetchBytes = R < 8 ? 8192 : kMostFetchedAhead;

inline __m512i line(const unsigned char* from) { return _mm512_loadu_si512(from); }

// Bits `mask` of `high` (already in place), the other bits of `low`.
inline __m512i merge(__m512i low, __m512i high, __m512i mask) {
  return _mm512_ternarylogic_epi32(low, high, mask, 0xF8);  // low | (high & mask)
}

// Moves the bits from position `From` of each byte to position `To` (others are moved too: mask them).
template <int From, int To>
inline __m512i move_bits(__m512i bytes) {
  if constexpr (From > To) return _mm512_srli_epi16(bytes, From - To);
  if constexpr (From < To) return _mm512_slli_epi16(bytes, To - From);
  return bytes;
}

// Bits `mask` of `high`, the other bits of `low`.
inline __m512i select(__m512i low, __m512i high, __m512i mask) {
  return _mm512_ternarylogic_epi32(mask, high, low, 0xCA);
}

// The choice bits of a trellis, moved up: bit b of a byte becomes bit b + memory, and below stand those of the end of
// the byte before it (none before a row's first byte).
template <TileFormat F>
inline __m512i choices_before(__m512i choices) {
  if constexpr (F.memory() == 0) return choices;
  const __m512i before = _mm512_srli_epi16(_mm512_slli_epi32(choices, 8), 8 - F.memory());
  return select(_mm512_slli_epi16(choices, F.memory()), before, _mm512_set1_epi8((1 << F.memory()) - 1));
}

// x of the quads 6 and 7 of a four-bit trellis, from the three lines' upper bits (others are left in the upper two).
inline __m512i last_quads(const unsigned char* at) {
  const __m512i low = select(_mm512_srli_epi16(line(at), 6), _mm512_srli_epi16(line(at + 64), 4), _mm512_set1_epi8(12));
  return select(low, _mm512_srli_epi16(line(at + 128), 2), _mm512_set1_epi8(48));
}

// A table of levels, made unsigned as vpdpbusd wants it. `odd`: of a two-bit trellis, for indices turned left by a bit.
struct Book {
  __m512i even, odd;
};

// Levels of the quads 2 Pair and 2 Pair + 1 of a trellis; vpermb looks at six bits only.
template <TileFormat F, int Quad>
inline __m512i trellis_quad(const unsigned char* block, const Book& book, __m512i choices) {
  constexpr int kMemory = F.memory(), kX = kMemory + 1;
  if constexpr (F.width == 2) {
    // Two quads share a shift of the choices, and even and odd ones a shift of x; odd ones have their own table.
    constexpr int kOdd = Quad % 2;
    const __m512i place = move_bits<Quad % 4 - kOdd, 0>(choices);
    const __m512i x = move_bits<trellis_x_bit(Quad), kOdd ? 0 : 5>(line(block + 64));
    const __m512i two = select(x, place, _mm512_set1_epi8(kOdd ? 0x3E : 0x1F));
    return _mm512_permutexvar_epi8(two, kOdd ? book.odd : book.even);
  }
  const __m512i field = move_bits<(Quad < 4 ? Quad : Quad - kMemory), 0>(choices);
  const __m512i mask = _mm512_set1_epi8((2 << kMemory) - 1);
  const unsigned char* at = block + 64;
  __m512i index = field;
  if constexpr (F.width == 3) index = select(move_bits<Quad % 4 * 2, kX>(line(at + 64 * (Quad / 4))), field, mask);
  if constexpr (F.width == 4) {
    const __m512i x = Quad < 6 ? line(at + 64 * (Quad / 2)) : last_quads(at);
    index = select(move_bits<Quad % 2 * 3, kX>(x), field, mask);
  }
  if constexpr (F.width == 5) index = select(move_bits<Quad % 2 * 4, kX>(line(at + 64 * (Quad / 2))), field, mask);
  return _mm512_permutexvar_epi8(index, book.even);
}

// The upper bits of the codes: those of all quads (width 3, 5) or of quads 4 Line .. 4 Line + 3 (width 6, trellises).
template <TileFormat F>
constexpr bool kTwoUppers = F.trellis || F.width == 6;

template <TileFormat F, int Line>
inline __m512i upper_bits(const unsigned char* block) {
  if constexpr (F.trellis && F.width < 6) return Line == 0 ? choices_before<F>(line(block)) : line(block);
  if constexpr (F.planes) return _mm512_setzero_si512();
  if constexpr (F.width == 3) return line(block + 128);
  if constexpr (F.width == 5) return line(block + 256);
  if constexpr (F.width == 6) return line(block + 256 + 64 * Line);
  return _mm512_setzero_si512();
}

// Code of one quad from bit planes, in an odd format: twice the stored one.
template <TileFormat F, int Quad, int Plane = 0>
inline __m512i plane_quad(const unsigned char* block) {
  const __m512i bits = move_bits<Quad, Plane + 1>(line(block + 64 * Plane));
  const __m512i mask = _mm512_set1_epi8(2 << Plane);
  if constexpr (Plane + 1 == F.width)
    return _mm512_and_si512(bits, mask);
  else
    return merge(plane_quad<F, Quad, Plane + 1>(block), bits, mask);
}

// Codes of the quads 2 Pair and 2 Pair + 1; of odd formats twice the stored ones.
template <TileFormat F, int Pair>
inline void unpack_pair(const unsigned char* block, const Book& book, __m512i upper, __m512i& first, __m512i& second) {
  if constexpr (F.width == 8) {
    first = line(block + 128 * Pair);
    second = line(block + 128 * Pair + 64);
    return;
  }
  if constexpr (F.trellis && F.width < 6) {
    first = trellis_quad<F, 2 * Pair>(block, book, upper);
    second = trellis_quad<F, 2 * Pair + 1>(block, book, upper);
    return;
  }
  if constexpr (F.width == 1 || F.planes) {
    first = plane_quad<F, 2 * Pair>(block);
    second = plane_quad<F, 2 * Pair + 1>(block);
    return;
  }
  constexpr int kUp = F.odd ? 1 : 0;
  if constexpr (F.width <= 3) {
    const __m512i both = line(block + 64 * (Pair / 2)), low = _mm512_set1_epi8(3 << kUp),
                  high = _mm512_set1_epi8(4 << kUp);
    first = _mm512_and_si512(move_bits<4 * (Pair % 2), kUp>(both), low);
    second = _mm512_and_si512(move_bits<4 * (Pair % 2) + 2, kUp>(both), low);
    if constexpr (F.width == 3) {
      first = merge(first, move_bits<2 * Pair, 2 + kUp>(upper), high);
      second = merge(second, move_bits<2 * Pair + 1, 2 + kUp>(upper), high);
    }
    return;
  }
  const __m512i nibble = _mm512_set1_epi8(15 << kUp), both = line(block + 64 * Pair);
  first = _mm512_and_si512(move_bits<0, kUp>(both), nibble);
  second = _mm512_and_si512(move_bits<4, kUp>(both), nibble);
  if constexpr (F.codebook) {
    first = _mm512_shuffle_epi8(book.even, first);
    second = _mm512_shuffle_epi8(book.even, second);
  }
  if constexpr (F.width == 5) {
    const __m512i mask = _mm512_set1_epi8(16);
    first = merge(first, move_bits<2 * Pair, 4>(upper), mask);
    second = merge(second, move_bits<2 * Pair + 1, 4>(upper), mask);
  }
  if constexpr (F.width == 6) {
    const __m512i mask = _mm512_set1_epi8(48);
    first = merge(first, move_bits<4 * (Pair % 2), 4>(upper), mask);
    second = merge(second, move_bits<4 * (Pair % 2) + 2, 4>(upper), mask);
  }
  if constexpr (F.trellis) {
    first = _mm512_permutexvar_epi8(first, book.even);
    second = _mm512_permutexvar_epi8(second, book.even);
  }
}

template <TileFormat F>
inline void unpack_codes(const unsigned char* block, const Book& book, __m512i (&codes)[8]) {
  const __m512i low = upper_bits<F, 0>(block);
  unpack_pair<F, 0>(block, book, low, codes[0], codes[1]);
  unpack_pair<F, 1>(block, book, low, codes[2], codes[3]);
  const __m512i high = kTwoUppers<F> ? upper_bits<F, 1>(block) : low;
  unpack_pair<F, 2>(block, book, high, codes[4], codes[5]);
  unpack_pair<F, 3>(block, book, high, codes[6], codes[7]);
}

inline __m512 halves(const unsigned char* from) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
}

template <TileFormat F>
inline __m512 load_scale(const unsigned char* from, __m512 unit) {
  if constexpr (F.scales == ScaleForm::kFloat16) return halves(from);
  if constexpr (F.scales == ScaleForm::kFloat32) return _mm512_loadu_ps(from);
  if constexpr (F.scales == ScaleForm::kFloat8) {
    // Sign, exponent and fraction where a float has them; its exponent counts from 112 higher.
    const __m512i bits = _mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
    const __m512i placed = _mm512_and_si512(_mm512_slli_epi32(bits, 21), _mm512_set1_epi32(0x8FE00000));
    return _mm512_mul_ps(_mm512_castsi512_ps(placed), _mm512_set1_ps(0x1p104f));
  }
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
  return _mm512_mul_ps(unit, _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes)));
}

inline __m512i broadcast_int(const void* from) {
  int value;
  __builtin_memcpy(&value, from, sizeof value);
  return _mm512_set1_epi32(value);
}

// What the accumulation of a biased or odd format starts from: what was added to the codes, times minus the sum of the
// activations' codes.
template <TileFormat F>
inline __m512i start(__m512i negative_sum) {
  if constexpr (F.odd && F.width == 1) return negative_sum;
  if constexpr (F.odd) return _mm512_sub_epi32(_mm512_slli_epi32(negative_sum, F.width), negative_sum);
  constexpr int kBiasBits = F.table() ? 7 : F.width - 1;
  if constexpr (F.biased || F.table()) return _mm512_slli_epi32(negative_sum, kBiasBits);
  return _mm512_setzero_si512();
}

// Exact sums over the quads [First, Last), in two chains: one row alone does not hide the latency of an addition.
template <int First, int Last>
inline __m512i dot(__m512i sum, const __m512i (&codes)[8], const QuantizedBlock& q) {
  __m512i other = _mm512_setzero_si512();
  KINGLET_UNROLL for (int quad = First; quad < Last; quad += 2) {
    sum = _mm512_dpbusd_epi32(sum, codes[quad], broadcast_int(q.codes + 4 * quad));
    other = _mm512_dpbusd_epi32(other, codes[quad + 1], broadcast_int(q.codes + 4 * quad + 4));
  }
  return _mm512_add_epi32(sum, other);
}

// A block of one row.
template <TileFormat F>
inline __m512 block_value(const __m512i (&codes)[8], const __m512 (&scales)[2], const __m512 (&minimums)[2],
                          const QuantizedBlock& q) {
  __m512 value;
  if constexpr (F.groups() == 1) {
    const __m512i sum = dot<0, 8>(start<F>(broadcast_int(&q.negative_sum)), codes, q);
    value = _mm512_mul_ps(_mm512_cvtepi32_ps(sum), scales[0]);
    if constexpr (F.minimum) value = _mm512_fmadd_ps(minimums[0], _mm512_set1_ps(q.negative_sum_float), value);
  } else {
    const __m512i first = broadcast_int(&q.negative_half);
    const __m512i second = _mm512_sub_epi32(broadcast_int(&q.negative_sum), first);
    const __m512i low = dot<0, 4>(start<F>(first), codes, q);
    const __m512i high = dot<4, 8>(start<F>(second), codes, q);
    value = _mm512_mul_ps(_mm512_cvtepi32_ps(low), scales[0]);
    value = _mm512_fmadd_ps(_mm512_cvtepi32_ps(high), scales[1], value);
    if constexpr (F.minimum) {
      value = _mm512_fmadd_ps(minimums[0], _mm512_cvtepi32_ps(first), value);
      value = _mm512_fmadd_ps(minimums[1], _mm512_cvtepi32_ps(second), value);
    }
  }
  return value;
}

template <TileFormat F>
inline void add_block(const unsigned char* block, const Book& book, __m512 unit, __m512 minimum_unit,
                      const QuantizedBlock& q, __m512& total) {
  __m512i codes[8];
  unpack_codes<F>(block, book, codes);
  __m512 scales[2], minimums[2];
  KINGLET_UNROLL for (int group = 0; group < F.groups(); ++group) {
    const unsigned char* at = block + F.code_bytes() + 16 * F.scale_size() * group;
    scales[group] = load_scale<F>(at, unit);
    if constexpr (F.minimum) minimums[group] = load_scale<F>(at + F.scale_bytes(), minimum_unit);
  }
  total = _mm512_fmadd_ps(block_value<F>(codes, scales, minimums, q), _mm512_set1_ps(q.scale), total);
}

// Rows in groups of four, so that each address is one of a few registers plus 0, 1, 2 or 3 strides.
struct RowAddress {
  const unsigned char* base[4];
  std::size_t stride, stride3;
  RowAddress(const unsigned char* x, std::size_t row_stride)
      : base{x, x + 4 * row_stride, x + 8 * row_stride, x + 12 * row_stride},
        stride(row_stride),
        stride3(3 * row_stride) {}
  template <int Row>
  const unsigned char* at() const {
    const unsigned char* from = base[Row / 4];
    return Row % 4 == 0 ? from : from + (Row % 4 == 3 ? stride3 : Row % 4 * stride);
  }
  void advance(std::size_t bytes) {
    for (const unsigned char*& from : base) from += bytes;
  }
};

// The quads 2 Pair and 2 Pair + 1 of T tiles side by side: the sums of all rows advance together, so that none waits
// for its own last addition. With two tiles each broadcast of activations serves both.
template <TileFormat F, int R, int T, int Pair>
inline void add_pair(const unsigned char* const (&blocks)[T], const Book& book, const __m512i (&upper)[T],
                     const QuantizedBlock* const (&q)[R], __m512i (&sums)[T][R]) {
  __m512i first[T], second[T];
  KINGLET_UNROLL for (int t = 0; t < T; ++t) unpack_pair<F, Pair>(blocks[t], book, upper[t], first[t], second[t]);
  KINGLET_UNROLL for (int r = 0; r < R; ++r) {
    const __m512i a = broadcast_int(q[r]->codes + 8 * Pair);
    KINGLET_UNROLL for (int t = 0; t < T; ++t) sums[t][r] = _mm512_dpbusd_epi32(sums[t][r], first[t], a);
  }
  KINGLET_UNROLL for (int r = 0; r < R; ++r) {
    const __m512i b = broadcast_int(q[r]->codes + 8 * Pair + 4);
    KINGLET_UNROLL for (int t = 0; t < T; ++t) sums[t][r] = _mm512_dpbusd_epi32(sums[t][r], second[t], b);
  }
}

template <TileFormat F, int R, int Row = 0>
inline void row_blocks(const RowAddress& rows, const QuantizedBlock* (&q)[R]) {
  q[Row] = reinterpret_cast<const QuantizedBlock*>(rows.template at<Row>());
  if constexpr (Row + 1 < R) row_blocks<F, R, Row + 1>(rows, q);
}

template <TileFormat F, int R, int T>
inline void add_blocks(const unsigned char* const (&blocks)[T], const Book& book, const __m512 (&units)[T],
                       const __m512 (&minimum_units)[T], const RowAddress& rows, __m512 (&totals)[T][R]) {
  const QuantizedBlock* q[R];
  row_blocks<F, R>(rows, q);
  const auto scale = [&](int t, int group) {
    return load_scale<F>(blocks[t] + F.code_bytes() + 16 * F.scale_size() * group, units[t]);
  };
  const auto minimum = [&](int t, int group) {
    return load_scale<F>(blocks[t] + F.code_bytes() + F.scale_bytes() + 16 * F.scale_size() * group, minimum_units[t]);
  };
  __m512i sums[T][R], upper[T];
  __m512 values[T][R];
  KINGLET_UNROLL for (int t = 0; t < T; ++t) {
    upper[t] = upper_bits<F, 0>(blocks[t]);
    KINGLET_UNROLL for (int r = 0; r < R; ++r) sums[t][r] =
        start<F>(broadcast_int(F.groups() == 1 ? &q[r]->negative_sum : &q[r]->negative_half));
  }
  add_pair<F, R, T, 0>(blocks, book, upper, q, sums);
  add_pair<F, R, T, 1>(blocks, book, upper, q, sums);
  if constexpr (F.groups() == 2) {
    KINGLET_UNROLL for (int t = 0; t < T; ++t) {
      const __m512 s = scale(t, 0);
      KINGLET_UNROLL for (int r = 0; r < R; ++r) {
        values[t][r] = _mm512_mul_ps(_mm512_cvtepi32_ps(sums[t][r]), s);
        sums[t][r] =
            start<F>(_mm512_sub_epi32(broadcast_int(&q[r]->negative_sum), broadcast_int(&q[r]->negative_half)));
      }
    }
  }
  if constexpr (kTwoUppers<F>) KINGLET_UNROLL for (int t = 0; t < T; ++t) upper[t] = upper_bits<F, 1>(blocks[t]);
  add_pair<F, R, T, 2>(blocks, book, upper, q, sums);
  add_pair<F, R, T, 3>(blocks, book, upper, q, sums);
  KINGLET_UNROLL for (int t = 0; t < T; ++t) {
    const __m512 s = scale(t, F.groups() - 1);
    KINGLET_UNROLL for (int r = 0; r < R; ++r) {
      const __m512 sum = _mm512_cvtepi32_ps(sums[t][r]);
      values[t][r] = F.groups() == 1 ? _mm512_mul_ps(sum, s) : _mm512_fmadd_ps(sum, s, values[t][r]);
    }
    if constexpr (F.minimum && F.groups() == 1) {
      const __m512 m = minimum(t, 0);
      KINGLET_UNROLL for (int r = 0; r < R; ++r) values[t][r] =
          _mm512_fmadd_ps(m, _mm512_set1_ps(q[r]->negative_sum_float), values[t][r]);
    }
    if constexpr (F.minimum && F.groups() == 2) {
      const __m512 low = minimum(t, 0), high = minimum(t, 1);
      KINGLET_UNROLL for (int r = 0; r < R; ++r) {
        const __m512i first = broadcast_int(&q[r]->negative_half);
        const __m512i second = _mm512_sub_epi32(broadcast_int(&q[r]->negative_sum), first);
        values[t][r] = _mm512_fmadd_ps(low, _mm512_cvtepi32_ps(first), values[t][r]);
        values[t][r] = _mm512_fmadd_ps(high, _mm512_cvtepi32_ps(second), values[t][r]);
      }
    }
    KINGLET_UNROLL for (int r = 0; r < R; ++r) totals[t][r] =
        _mm512_fmadd_ps(values[t][r], _mm512_set1_ps(q[r]->scale), totals[t][r]);
  }
}

template <int Format>
inline __m512 load_weights(const unsigned char* from) {
  if constexpr (Format == kTileFloat32) return _mm512_loadu_ps(from);
  if constexpr (Format == kTileFloat16) return halves(from);
  const __m256i words = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(words), 16));
}

template <TileFormat F>
inline Book load_codebook(const std::int8_t* codebook) {
  const __m512i sign = _mm512_set1_epi8(static_cast<char>(0x80));
  Book book = {_mm512_setzero_si512(), _mm512_setzero_si512()};
  if constexpr (F.trellis) book.even = _mm512_xor_si512(_mm512_loadu_si512(codebook), sign);
  if constexpr (F.trellis && F.width == 2) {
    alignas(64) unsigned char turned[64];
    for (unsigned i = 0; i < 64; ++i) turned[i] = static_cast<unsigned char>(i >> 1 | (i & 1) << 5);
    book.odd = _mm512_permutexvar_epi8(_mm512_load_si512(turned), book.even);
  }
  if constexpr (F.codebook) {
    const __m128i levels = _mm_loadu_si128(reinterpret_cast<const __m128i*>(codebook));
    book.even = _mm512_xor_si512(_mm512_broadcast_i32x4(levels), sign);
  }
  return book;
}

constexpr int kPair = 2;  // tiles of run_pair

#include "tensor/kernels/lookup_avx512-inl.h"

struct Kernels : Lookup {
  using PairRowCounts = RowCountsOf<4, 3, 2, 1>;
  // Fewer rows are bound by memory, which likes to be read in order.
  static constexpr int kPairsFrom = 9;
  using RowCounts = RowCountsOf<8, 6, 4, 3, 2, 1>;
  using FloatRowCounts = RowCountsOf<16, 8, 4, 2, 1>;

  template <int Format, int R>
  static inline void run(const unsigned char* tile, std::int64_t units, const unsigned char* x, std::size_t x_stride,
                         const std::int8_t* codebook, Fetch fetch, float* sums) {
    constexpr TileFormat F = kTileFormats[Format];
    const Book book = load_codebook<F>(codebook);
    __m512 totals[1][R];
    KINGLET_UNROLL for (int r = 0; r < R; ++r) totals[0][r] = _mm512_load_ps(sums + kLanes * r);
    RowAddress rows(x, x_stride);
    for (std::int64_t u = 0; u < units; ++u) {
      __m512 unit = _mm512_setzero_ps(), minimum_unit = _mm512_setzero_ps();
      if constexpr (F.header_bytes() > 0) unit = halves(tile);
      if constexpr (F.header_bytes() > 32) minimum_unit = halves(tile + 32);
      if constexpr (F.header_bytes() > 0) tile += F.header_bytes();
      _Pragma("clang loop unroll(disable)") for (int b = 0; b < F.blocks_per_unit(); ++b) {
        if (fetch == kFetchOnce) {
          KINGLET_UNROLL for (int ahead = 0; ahead < F.block_bytes(); ahead += 64)
              _mm_prefetch(tile + kPrefetchBytes<R> + ahead, _MM_HINT_NTA);
        } else if (fetch == kFetchToKeep) {
          KINGLET_UNROLL for (int ahead = 0; ahead < F.block_bytes(); ahead += 64)
              _mm_prefetch(tile + kPrefetchBytes<R> + ahead, _MM_HINT_T0);
        }
        if constexpr (R == 1) {
          add_block<F>(tile, book, unit, minimum_unit, *reinterpret_cast<const QuantizedBlock*>(rows.at<0>()),
                       totals[0][0]);
        } else {
          const unsigned char* const block[1] = {tile};
          add_blocks<F, R, 1>(block, book, {unit}, {minimum_unit}, rows, totals);
        }
        tile += F.block_bytes();
        rows.advance(sizeof(QuantizedBlock));
      }
    }
    KINGLET_UNROLL for (int r = 0; r < R; ++r) _mm512_store_ps(sums + kLanes * r, totals[0][r]);
  }

  // Two tiles, `tile_bytes` apart, their sums `sums_apart` floats apart. Bit t of `fetch`: fetch tile t of the next
  // two.
  template <int Format, int R>
  static inline void run_pair(const unsigned char* tile, std::size_t tile_bytes, std::int64_t units,
                              const unsigned char* x, std::size_t x_stride, const std::int8_t* codebook, int fetch,
                              float* sums, std::size_t sums_apart) {
    constexpr TileFormat F = kTileFormats[Format];
    const Book book = load_codebook<F>(codebook);
    __m512 totals[kPair][R];
    KINGLET_UNROLL for (int t = 0; t < kPair; ++t) {
      KINGLET_UNROLL for (int r = 0; r < R; ++r) totals[t][r] = _mm512_load_ps(sums + t * sums_apart + kLanes * r);
    }
    RowAddress rows(x, x_stride);
    const unsigned char* blocks[kPair] = {tile, tile + tile_bytes};
    const unsigned char* next = tile + kPair * tile_bytes;
    const unsigned char* ahead[kPair] = {fetch & 1 ? next : nullptr, fetch & 2 ? next + tile_bytes : nullptr};
    for (std::int64_t u = 0; u < units; ++u) {
      __m512 unit[kPair] = {}, minimum_unit[kPair] = {};
      KINGLET_UNROLL for (int t = 0; t < kPair; ++t) {
        if constexpr (F.header_bytes() > 0) unit[t] = halves(blocks[t]);
        if constexpr (F.header_bytes() > 32) minimum_unit[t] = halves(blocks[t] + 32);
        blocks[t] += F.header_bytes();
      }
      _Pragma("clang loop unroll(disable)") for (int b = 0; b < F.blocks_per_unit(); ++b) {
        KINGLET_UNROLL for (int t = 0; t < kPair; ++t) {
          if (ahead[t] == nullptr) continue;
          KINGLET_UNROLL for (int at = 0; at < F.block_bytes(); at += 64) _mm_prefetch(ahead[t] + at, _MM_HINT_T0);
          ahead[t] += F.block_bytes();
        }
        add_blocks<F, R, kPair>(blocks, book, unit, minimum_unit, rows, totals);
        KINGLET_UNROLL for (int t = 0; t < kPair; ++t) blocks[t] += F.block_bytes();
        rows.advance(sizeof(QuantizedBlock));
      }
    }
    KINGLET_UNROLL for (int t = 0; t < kPair; ++t) {
      KINGLET_UNROLL for (int r = 0; r < R; ++r) _mm512_store_ps(sums + t * sums_apart + kLanes * r, totals[t][r]);
    }
  }

  template <int Format, int R>
  static inline void run_float(const unsigned char* tile, std::int64_t inputs, const unsigned char* x,
                               std::size_t x_stride, bool prefetch, float* sums) {
    constexpr int kBytes = Format == kTileFloat32 ? 64 : 32;
    __m512 totals[R];
    KINGLET_UNROLL for (int r = 0; r < R; ++r) totals[r] = _mm512_load_ps(sums + kLanes * r);
    RowAddress rows(x, x_stride);
    for (std::int64_t i = 0; i < inputs; ++i) {
      if (prefetch) _mm_prefetch(tile + kPrefetchBytes<R>, _MM_HINT_T0);
      add_input<R>(load_weights<Format>(tile), rows, totals);
      tile += kBytes;
      rows.advance(sizeof(float));
    }
    KINGLET_UNROLL for (int r = 0; r < R; ++r) _mm512_store_ps(sums + kLanes * r, totals[r]);
  }

  template <int R, int Row = 0>
  static inline void add_input(__m512 weights, const RowAddress& rows, __m512 (&totals)[R]) {
    float value;
    __builtin_memcpy(&value, rows.template at<Row>(), sizeof value);
    totals[Row] = _mm512_fmadd_ps(weights, _mm512_set1_ps(value), totals[Row]);
    if constexpr (Row + 1 < R) add_input<R, Row + 1>(weights, rows, totals);
  }

  static constexpr auto quantize_blocks = quantize_blocks_avx512;
  static void interleave(const std::uint8_t* rows, std::size_t stride, int width, unsigned char* out);
};

// quads[b] = bytes 4b..4b+3 of each of the 16 rows.
inline void transpose_rows(const std::uint8_t* rows, std::size_t stride, __m512i (&quads)[8]) {
  __m512i pairs[8];  // rows r and r + 8, quads 0..7 each
  KINGLET_UNROLL for (int r = 0; r < 8; ++r) {
    const __m256i a = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(rows + r * stride));
    const __m256i b = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(rows + (r + 8) * stride));
    pairs[r] = _mm512_inserti64x4(_mm512_castsi256_si512(a), b, 1);
  }
  __m512i two[8], four[8];
  KINGLET_UNROLL for (int r = 0; r < 8; r += 2) {
    two[r] = _mm512_unpacklo_epi32(pairs[r], pairs[r + 1]);      // quads 0, 1 (and 4, 5) of two rows
    two[r + 1] = _mm512_unpackhi_epi32(pairs[r], pairs[r + 1]);  // quads 2, 3 (and 6, 7)
  }
  KINGLET_UNROLL for (int r = 0; r < 8; r += 4) {
    four[r] = _mm512_unpacklo_epi64(two[r], two[r + 2]);  // quads 0 (and 4) of four rows
    four[r + 1] = _mm512_unpackhi_epi64(two[r], two[r + 2]);
    four[r + 2] = _mm512_unpacklo_epi64(two[r + 1], two[r + 3]);
    four[r + 3] = _mm512_unpackhi_epi64(two[r + 1], two[r + 3]);
  }
  // four[q] holds, by 128 bits: quad q of rows 0-3, quad q + 4 of rows 0-3, quad q of rows 8-11, quad q + 4 of rows
  // 8-11; four[q + 4] the same of rows 4-7 and 12-15.
  const __m512i low = _mm512_setr_epi64(0, 1, 8, 9, 4, 5, 12, 13), high = _mm512_setr_epi64(2, 3, 10, 11, 6, 7, 14, 15);
  KINGLET_UNROLL for (int q = 0; q < 4; ++q) {
    quads[q] = _mm512_permutex2var_epi64(four[q], low, four[q + 4]);
    quads[q + 4] = _mm512_permutex2var_epi64(four[q], high, four[q + 4]);
  }
}

// Codes of one bit, from quads.
inline void interleave_bits(const __m512i (&quads)[8], unsigned char* out) {
  __m512i bits = _mm512_setzero_si512();
  KINGLET_UNROLL for (int quad = 7; quad >= 0; --quad) {
    bits = _mm512_add_epi8(bits, bits);
    bits = _mm512_or_si512(bits, _mm512_and_si512(quads[quad], _mm512_set1_epi8(1)));
  }
  _mm512_storeu_si512(out, bits);
}

// Codes of 2 or 3 bits, from quads.
inline void interleave_narrow(const __m512i (&quads)[8], int width, unsigned char* out) {
  const __m512i pair = _mm512_set1_epi8(3), bit = _mm512_set1_epi8(4);
  KINGLET_UNROLL for (int line_index = 0; line_index < 2; ++line_index) {
    __m512i bits = _mm512_setzero_si512();
    KINGLET_UNROLL for (int quad = 3; quad >= 0; --quad) {
      bits = _mm512_slli_epi16(bits, 2);  // the upper bits of a byte are still clear
      bits = _mm512_or_si512(bits, _mm512_and_si512(quads[4 * line_index + quad], pair));
    }
    _mm512_storeu_si512(out + 64 * line_index, bits);
  }
  if (width == 2) return;
  __m512i bits = _mm512_setzero_si512();
  KINGLET_UNROLL for (int quad = 7; quad >= 0; --quad) {
    bits = _mm512_add_epi8(bits, bits);
    bits = _mm512_or_si512(bits, _mm512_srli_epi16(_mm512_and_si512(quads[quad], bit), 2));
  }
  _mm512_storeu_si512(out + 128, bits);
}

// 16 rows x 8 quads of 4 bytes, transposed to 8 lines of 16 quads, then narrowed.
void Kernels::interleave(const std::uint8_t* rows, std::size_t stride, int width, unsigned char* out) {
  __m512i quads[8];
  transpose_rows(rows, stride, quads);
  if (width == 8) {
    KINGLET_UNROLL for (int quad = 0; quad < 8; ++quad) _mm512_storeu_si512(out + 64 * quad, quads[quad]);
    return;
  }
  if (width == 1) return interleave_bits(quads, out);
  if (width <= 3) return interleave_narrow(quads, width, out);
  const __m512i low = _mm512_set1_epi8(15);
  KINGLET_UNROLL for (int i = 0; i < 4; ++i) {
    const __m512i upper = _mm512_slli_epi16(_mm512_and_si512(quads[2 * i + 1], low), 4);
    _mm512_storeu_si512(out + 64 * i, _mm512_or_si512(_mm512_and_si512(quads[2 * i], low), upper));
  }
  if (width == 5) {
    const __m512i bit = _mm512_set1_epi8(16);
    __m512i bits = _mm512_setzero_si512();
    KINGLET_UNROLL for (int quad = 7; quad >= 0; --quad) {
      bits = _mm512_add_epi8(bits, bits);
      bits = _mm512_or_si512(bits, _mm512_srli_epi16(_mm512_and_si512(quads[quad], bit), 4));
    }
    _mm512_storeu_si512(out + 256, bits);
  }
  if (width == 6) {
    const __m512i pair = _mm512_set1_epi8(48);
    KINGLET_UNROLL for (int line_index = 0; line_index < 2; ++line_index) {
      __m512i bits = _mm512_setzero_si512();
      KINGLET_UNROLL for (int quad = 3; quad >= 0; --quad) {
        bits = _mm512_slli_epi16(bits, 2);  // the upper bits of a byte are still clear
        bits = _mm512_or_si512(bits, _mm512_srli_epi16(_mm512_and_si512(quads[4 * line_index + quad], pair), 4));
      }
      _mm512_storeu_si512(out + 256 + 64 * line_index, bits);
    }
  }
}

#if defined(KINGLET_FEW_KERNELS)
#pragma clang attribute pop
#endif

}  // namespace

const MatmulKernels matmul_kernels_avx512 = make_kernels<Kernels>();

}  // namespace kinglet
