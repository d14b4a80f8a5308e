// Look-up kernel in portable C++: the sums themselves, 16 bits each, so that 8 additions a plane do for 32 inputs.
// Included by matmul_scalar.cpp.

struct Lookup {
  static void build_tables(const QuantizedBlock* x, std::int64_t blocks, unsigned char* tables) {
    for (std::int64_t b = 0; b < blocks; ++b) {
      for (int group = 0; group < 8; ++group, tables += 32) {
        const std::int8_t* q = x[b].codes + 16 * (group / 4) + group % 4;
        for (int index = 0; index < 16; ++index) {
          int sum = 0;
          for (int j = 0; j < 4; ++j) sum += index >> j & 1 ? q[4 * j] : -q[4 * j];
          const auto entry = static_cast<std::int16_t>(sum);
          __builtin_memcpy(tables + 2 * index, &entry, sizeof entry);
        }
      }
    }
  }

  template <int Format>
  static void look_up(const unsigned char* tile, std::int64_t blocks, const QuantizedBlock* x,
                      const unsigned char* tables, bool, float* sums) {
    constexpr TileFormat F = kTileFormats[Format];
    static_assert(8 * 32 == kLookupBytes);
    for (std::int64_t b = 0; b < blocks; ++b, tile += F.block_bytes(), tables += kLookupBytes) {
      for (int lane = 0; lane < kLanes; ++lane) {
        std::int32_t sum = 0;
        for (int plane = 0; plane < F.width; ++plane) {
          for (int group = 0; group < 8; ++group) {
            const unsigned index = tile[64 * plane + 4 * lane + group % 4] >> (group / 4 * 4) & 15u;
            sum += load<std::int16_t>(tables + 32 * group + 2 * index) * (1 << plane);
          }
        }
        const float scale = group_scale<F>(tile + F.code_bytes(), 0, 0, lane);
        sums[lane] = std::fma(static_cast<float>(sum) * scale, x[b].scale, sums[lane]);
      }
    }
  }
};
