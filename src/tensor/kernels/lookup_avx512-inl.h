// Look-up kernel with vpermb: a register holds the tables of four groups (i = 0..3), and byte 4 r + i of a line, which
// has the index for output r in group i, looks into the i-th. Sums are kept plus 512 as two unsigned bytes; vpdpbusd
// adds four of them, times 2^plane. Included by matmul_avx512.cpp.

struct Lookup {
  // Lines of a block's tables: low bytes of h = 0, 1, then upper bytes.
  static void build_tables(const QuantizedBlock* x, std::int64_t blocks, unsigned char* tables) {
    alignas(64) std::int8_t signs[64];
    alignas(64) std::int32_t starts[16];
    for (int index = 0; index < 16; ++index) {
      starts[index] = 512;  // and what makes the activations unsigned
      for (int j = 0; j < 4; ++j) {
        signs[4 * index + j] = index >> j & 1 ? 1 : -1;
        starts[index] -= 128 * signs[4 * index + j];
      }
    }
    const __m512i sign = _mm512_load_si512(signs), start = _mm512_load_si512(starts);
    // Input 4 j + i of a half to byte 4 i + j.
    const __m256i turn =
        _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
    for (std::int64_t b = 0; b < blocks; ++b, tables += kLookupBytes) {
      const __m256i q = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(x[b].codes));
      alignas(32) std::uint32_t turned[8];
      _mm256_store_si256(reinterpret_cast<__m256i*>(turned),
                         _mm256_xor_si256(_mm256_shuffle_epi8(q, turn), _mm256_set1_epi8(static_cast<char>(0x80))));
      KINGLET_UNROLL for (int group = 0; group < 8; ++group) {
        const __m512i sums = _mm512_dpbusd_epi32(start, _mm512_set1_epi32(static_cast<int>(turned[group])), sign);
        auto* to = reinterpret_cast<__m128i*>(tables + 16 * group);
        _mm_store_si128(to, _mm512_cvtepi32_epi8(sums));
        _mm_store_si128(to + 8, _mm512_cvtepi32_epi8(_mm512_srli_epi32(sums, 8)));
      }
    }
  }

  template <int Format>
  static inline void look_up(const unsigned char* tile, std::int64_t blocks, const QuantizedBlock* x,
                             const unsigned char* tables, bool prefetch, float* sums) {
    constexpr TileFormat F = kTileFormats[Format];
    const __m512i nibble = _mm512_set1_epi8(15), place = _mm512_set1_epi32(0x30201000);
    __m512 total = _mm512_load_ps(sums);
    for (std::int64_t b = 0; b < blocks; ++b, tile += F.block_bytes(), tables += kLookupBytes) {
      if (prefetch) {
        KINGLET_UNROLL for (int ahead = 0; ahead < F.block_bytes(); ahead += 64)
            _mm_prefetch(tile + kPrefetchBytes<1> + ahead, _MM_HINT_T0);
      }
      const __m512i low0 = line(tables), low1 = line(tables + 64), high0 = line(tables + 128),
                    high1 = line(tables + 192);
      __m512i low = _mm512_set1_epi32(-512 * 8 * ((1 << F.width) - 1)), high = _mm512_setzero_si512();
      KINGLET_UNROLL for (int plane = 0; plane < F.width; ++plane) {
        const __m512i bits = line(tile + 64 * plane), weight = _mm512_set1_epi8(static_cast<char>(1 << plane));
        const __m512i first = _mm512_ternarylogic_epi32(bits, nibble, place, 0xEA);  // bits & nibble | place
        const __m512i second = _mm512_ternarylogic_epi32(_mm512_srli_epi16(bits, 4), nibble, place, 0xEA);
        low = _mm512_dpbusd_epi32(low, _mm512_permutexvar_epi8(first, low0), weight);
        high = _mm512_dpbusd_epi32(high, _mm512_permutexvar_epi8(first, high0), weight);
        low = _mm512_dpbusd_epi32(low, _mm512_permutexvar_epi8(second, low1), weight);
        high = _mm512_dpbusd_epi32(high, _mm512_permutexvar_epi8(second, high1), weight);
      }
      const __m512i sum = _mm512_add_epi32(low, _mm512_slli_epi32(high, 8));
      const __m512 value = _mm512_mul_ps(_mm512_cvtepi32_ps(sum), halves(tile + F.code_bytes()));
      total = _mm512_fmadd_ps(value, _mm512_set1_ps(x[b].scale), total);
    }
    _mm512_store_ps(sums, total);
  }
};
