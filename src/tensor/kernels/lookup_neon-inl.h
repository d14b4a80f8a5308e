// Look-up kernel with tbl: a register holds the table of one group, and the indices of 16 outputs. Bytes alone are
// added, as in lookup_avx2-inl.h: the sums' lower bytes, and the sums divided by 32, rounded down. Included by
// matmul_neon.cpp.

struct Lookup {
  // A block's tables: 16 bytes for each group, lower bytes, then quotients.
  static void build_tables(const QuantizedBlock* x, std::int64_t blocks, unsigned char* tables) {
    int16x8_t signs[4][2];
    for (int j = 0; j < 4; ++j) {
      std::int16_t sign[16];
      for (int index = 0; index < 16; ++index) sign[index] = index >> j & 1 ? 1 : -1;
      signs[j][0] = vld1q_s16(sign);
      signs[j][1] = vld1q_s16(sign + 8);
    }
    for (std::int64_t b = 0; b < blocks; ++b, tables += kLookupBytes) {
      for (int group = 0; group < 8; ++group) {
        const std::int8_t* q = x[b].codes + 16 * (group / 4) + group % 4;
        int16x8_t sums[2];
        KINGLET_UNROLL for (int half = 0; half < 2; ++half) {
          sums[half] = vmulq_n_s16(signs[0][half], q[0]);
          KINGLET_UNROLL for (int j = 1; j < 4; ++j) sums[half] = vmlaq_n_s16(sums[half], signs[j][half], q[4 * j]);
        }
        const int8x16_t low = vcombine_s8(vmovn_s16(sums[0]), vmovn_s16(sums[1]));
        vst1q_u8(tables + 16 * group, vreinterpretq_u8_s8(low));
        const int8x16_t high = vcombine_s8(vshrn_n_s16(sums[0], 5), vshrn_n_s16(sums[1], 5));
        vst1q_u8(tables + 128 + 16 * group, vreinterpretq_u8_s8(high));
      }
    }
  }

  struct Sums {
    int16x8_t half[2];  ///< outputs 0-7, 8-15
  };

  static inline Sums plane_sum(const unsigned char* bits, const unsigned char* tables) {
    const uint8x16x4_t groups = vld4q_u8(bits);
    uint8x16_t low = vdupq_n_u8(0), high = low;
    KINGLET_UNROLL for (int group = 0; group < 8; ++group) {
      const uint8x16_t from = groups.val[group % 4];
      const uint8x16_t index = group < 4 ? vandq_u8(from, vdupq_n_u8(15)) : vshrq_n_u8(from, 4);
      low = vaddq_u8(low, vqtbl1q_u8(vld1q_u8(tables + 16 * group), index));
      high = vaddq_u8(high, vqtbl1q_u8(vld1q_u8(tables + 128 + 16 * group), index));
    }
    const int8x16_t quotient = vreinterpretq_s8_u8(high);
    Sums sums;
    const int16x8_t floors[2] = {vshll_n_s8(vget_low_s8(quotient), 5), vshll_n_s8(vget_high_s8(quotient), 5)};
    const uint16x8_t lows[2] = {vmovl_u8(vget_low_u8(low)), vmovl_u8(vget_high_u8(low))};
    KINGLET_UNROLL for (int half = 0; half < 2; ++half) {
      const int16x8_t rest = vsubq_s16(vreinterpretq_s16_u16(lows[half]), floors[half]);
      sums.half[half] = vaddq_s16(floors[half], vandq_s16(rest, vdupq_n_s16(255)));
    }
    return sums;
  }

  template <int Format>
  static inline void look_up(const unsigned char* tile, std::int64_t blocks, const QuantizedBlock* x,
                             const unsigned char* tables, bool prefetch, float* sums) {
    constexpr TileFormat F = kTileFormats[Format];
    float32x4_t totals[kQuarters];
    KINGLET_UNROLL for (int o = 0; o < kQuarters; ++o) totals[o] = vld1q_f32(sums + 4 * o);
    for (std::int64_t b = 0; b < blocks; ++b, tile += F.block_bytes(), tables += kLookupBytes) {
      if (prefetch) {
        KINGLET_UNROLL for (int ahead = 0; ahead < F.block_bytes(); ahead += 64)
            __builtin_prefetch(tile + kPrefetchBytes + ahead);
      }
      int32x4_t wide[kQuarters] = {vdupq_n_s32(0), vdupq_n_s32(0), vdupq_n_s32(0), vdupq_n_s32(0)};
      KINGLET_UNROLL for (int plane = 0; plane < F.width; ++plane) {
        const Sums part = plane_sum(tile + 64 * plane, tables);
        KINGLET_UNROLL for (int half = 0; half < 2; ++half) {
          wide[2 * half] = vmlal_n_s16(wide[2 * half], vget_low_s16(part.half[half]), 1 << plane);
          wide[2 * half + 1] = vmlal_n_s16(wide[2 * half + 1], vget_high_s16(part.half[half]), 1 << plane);
        }
      }
      KINGLET_UNROLL for (int o = 0; o < kQuarters; ++o) {
        const float32x4_t value = vmulq_f32(vcvtq_f32_s32(wide[o]), halves(tile + F.code_bytes() + 8 * o));
        totals[o] = vfmaq_n_f32(totals[o], value, x[b].scale);
      }
    }
    KINGLET_UNROLL for (int o = 0; o < kQuarters; ++o) vst1q_f32(sums + 4 * o, totals[o]);
  }
};
