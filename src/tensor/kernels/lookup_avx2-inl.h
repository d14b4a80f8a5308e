// Look-up kernel with vpshufb: each half of a register holds the table of one group, and the indices of 16 outputs.
// Bytes alone are added: the sums' lower bytes, whose total is exact modulo 256, and the sums divided by 32, rounded
// down, whose total T fits a byte. The true total of the 8 groups lies in [32 T, 32 T + 248], so both give it exactly.
// Included by matmul_avx2.cpp.

struct Lookup {
  // A block's tables: 32 bytes each for (h, i) = (0, 0..1), (0, 2..3), (1, 0..1), (1, 2..3): lower bytes, then
  // quotients.
  static void build_tables(const QuantizedBlock* x, std::int64_t blocks, unsigned char* tables) {
    __m256i signs[4];
    KINGLET_UNROLL for (int j = 0; j < 4; ++j) {
      alignas(32) std::int16_t sign[16];
      for (int index = 0; index < 16; ++index) sign[index] = index >> j & 1 ? 1 : -1;
      signs[j] = _mm256_load_si256(reinterpret_cast<const __m256i*>(sign));
    }
    const __m256i bytes = _mm256_set1_epi16(255);
    for (std::int64_t b = 0; b < blocks; ++b, tables += kLookupBytes) {
      KINGLET_UNROLL for (int pair = 0; pair < 4; ++pair) {
        __m256i sums[2];
        KINGLET_UNROLL for (int i = 0; i < 2; ++i) {
          const std::int8_t* q = x[b].codes + 16 * (pair / 2) + 2 * (pair % 2) + i;
          sums[i] = _mm256_sign_epi16(_mm256_set1_epi16(q[0]), signs[0]);
          KINGLET_UNROLL for (int j = 1; j < 4; ++j) sums[i] =
              _mm256_add_epi16(sums[i], _mm256_sign_epi16(_mm256_set1_epi16(q[4 * j]), signs[j]));
        }
        const __m256i low = _mm256_packus_epi16(_mm256_and_si256(sums[0], bytes), _mm256_and_si256(sums[1], bytes));
        const __m256i high = _mm256_packs_epi16(_mm256_srai_epi16(sums[0], 5), _mm256_srai_epi16(sums[1], 5));
        store(tables + 32 * pair, _mm256_permute4x64_epi64(low, 0xD8));
        store(tables + 128 + 32 * pair, _mm256_permute4x64_epi64(high, 0xD8));
      }
    }
  }

  // Total over the groups of one plane, 16 bits for each output, in the order 0-3, 8-11, 4-7, 12-15.
  static inline __m256i plane_sum(const unsigned char* bits, const unsigned char* tables) {
    const __m256i turn =
        _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
    const __m256i nibble = _mm256_set1_epi8(15);
    const __m256i a = _mm256_shuffle_epi8(line(bits), turn), b = _mm256_shuffle_epi8(line(bits + 32), turn);
    const __m256i groups[2] = {_mm256_permute4x64_epi64(_mm256_unpacklo_epi32(a, b), 0xD8),
                               _mm256_permute4x64_epi64(_mm256_unpackhi_epi32(a, b), 0xD8)};
    __m256i low = _mm256_setzero_si256(), high = low;
    KINGLET_UNROLL for (int pair = 0; pair < 4; ++pair) {
      const __m256i from = groups[pair % 2];
      const __m256i index = _mm256_and_si256(pair < 2 ? from : _mm256_srli_epi16(from, 4), nibble);
      low = _mm256_add_epi8(low, _mm256_shuffle_epi8(line(tables + 32 * pair), index));
      high = _mm256_add_epi8(high, _mm256_shuffle_epi8(line(tables + 128 + 32 * pair), index));
    }
    const __m128i low16 = _mm_add_epi8(_mm256_castsi256_si128(low), _mm256_extracti128_si256(low, 1));
    const __m128i high16 = _mm_add_epi8(_mm256_castsi256_si128(high), _mm256_extracti128_si256(high, 1));
    const __m256i floor = _mm256_slli_epi16(_mm256_cvtepi8_epi16(high16), 5);
    const __m256i rest = _mm256_sub_epi16(_mm256_cvtepu8_epi16(low16), floor);
    return _mm256_add_epi16(floor, _mm256_and_si256(rest, _mm256_set1_epi16(255)));
  }

  template <int Format>
  static inline void look_up(const unsigned char* tile, std::int64_t blocks, const QuantizedBlock* x,
                             const unsigned char* tables, bool prefetch, float* sums) {
    constexpr TileFormat F = kTileFormats[Format];
    __m256 totals[2] = {_mm256_load_ps(sums), _mm256_load_ps(sums + kHalfLanes)};
    for (std::int64_t b = 0; b < blocks; ++b, tile += F.block_bytes(), tables += kLookupBytes) {
      if (prefetch) {
        KINGLET_UNROLL for (int ahead = 0; ahead < F.block_bytes(); ahead += 64)
            _mm_prefetch(reinterpret_cast<const char*>(tile + kPrefetchBytes + ahead), _MM_HINT_T0);
      }
      __m256i sum = plane_sum(tile, tables);  // of three planes: at most 7 * 4064
      KINGLET_UNROLL for (int plane = 1; plane < F.width && plane < 3; ++plane) sum =
          _mm256_add_epi16(sum, _mm256_slli_epi16(plane_sum(tile + 64 * plane, tables), plane));
      __m256i wide[2] = {_mm256_cvtepi16_epi32(_mm256_castsi256_si128(sum)),
                         _mm256_cvtepi16_epi32(_mm256_extracti128_si256(sum, 1))};
      if constexpr (F.width == 4) {
        const __m256i last = plane_sum(tile + 192, tables);
        const __m256i low = _mm256_cvtepi16_epi32(_mm256_castsi256_si128(last));
        const __m256i high = _mm256_cvtepi16_epi32(_mm256_extracti128_si256(last, 1));
        wide[0] = _mm256_add_epi32(wide[0], _mm256_slli_epi32(low, 3));
        wide[1] = _mm256_add_epi32(wide[1], _mm256_slli_epi32(high, 3));
      }
      const __m256 scale = _mm256_set1_ps(x[b].scale);
      KINGLET_UNROLL for (int half = 0; half < 2; ++half) {
        const __m256i ordered = half == 0 ? _mm256_permute2x128_si256(wide[0], wide[1], 0x20)
                                          : _mm256_permute2x128_si256(wide[0], wide[1], 0x31);
        const __m256 value = _mm256_mul_ps(_mm256_cvtepi32_ps(ordered), halves(tile + F.code_bytes() + 16 * half));
        totals[half] = _mm256_fmadd_ps(value, scale, totals[half]);
      }
    }
    _mm256_store_ps(sums, totals[0]);
    _mm256_store_ps(sums + kHalfLanes, totals[1]);
  }
};
