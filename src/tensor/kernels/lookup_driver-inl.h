// The loops around the look-up kernels of one instruction set; included after matmul_driver-inl.h where that is.
//
// `Kernels` provides
//   static void build_tables(const QuantizedBlock* x, std::int64_t blocks, unsigned char* tables);
//   template <int Format> static void look_up(const unsigned char* tile, std::int64_t blocks, const QuantizedBlock* x,
//       const unsigned char* tables, bool prefetch, float* sums);                                    sums[16] += ...

// Tables of 8192 inputs lie on the stack; longer rows are cut, and tables made anew for each 32 tiles.
constexpr std::int64_t kLookupBlocks = 256;
constexpr int kLookupTiles = 32;

template <typename Kernels, int Format>
void multiply_lookup(const MatmulCall& call) {
  constexpr std::size_t kUnitBytes = kTileFormats[Format].unit_bytes();
  alignas(64) unsigned char tables[kLookupBlocks * kLookupBytes];
  alignas(64) float sums[kLookupTiles * kLanes];
  const bool whole = call.units <= kLookupBlocks;
  for (int row = 0; row < call.rows; ++row) {
    const auto* x = reinterpret_cast<const QuantizedBlock*>(call.x + static_cast<std::size_t>(row) * call.x_stride);
    if (whole) Kernels::build_tables(x, call.units, tables);
    for (int first = 0; first < call.tile_count; first += kLookupTiles) {
      const int tiles = call.tile_count - first < kLookupTiles ? call.tile_count - first : kLookupTiles;
      __builtin_memset(sums, 0, sizeof(float) * kLanes * static_cast<std::size_t>(tiles));
      for (std::int64_t begin = 0; begin < call.units; begin += kLookupBlocks) {
        const std::int64_t blocks = call.units - begin < kLookupBlocks ? call.units - begin : kLookupBlocks;
        if (!whole) Kernels::build_tables(x + begin, blocks, tables);
        for (int tile = 0; tile < tiles; ++tile) {
          const unsigned char* data = call.tiles + static_cast<std::size_t>(first + tile) * call.tile_bytes;
          Kernels::template look_up<Format>(data + static_cast<std::size_t>(begin) * kUnitBytes, blocks, x + begin,
                                            tables, row == 0, sums + tile * kLanes);
        }
      }
      for (int tile = 0; tile < tiles; ++tile) store_sums(call, first + tile, row, 1, sums + tile * kLanes);
    }
  }
}
