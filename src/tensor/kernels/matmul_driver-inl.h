// The loops around the kernels of one instruction set: which rows and tiles meet when. Included by each matmul_ISA.cpp
// inside its anonymous namespace, so that every file compiles its own copy with its own flags.
//
// `Kernels` provides
//   using RowCounts = Counts<…>, FloatRowCounts = …;   rows of its kernels, descending, the last 1
//   template <int Format, int R> static void run(const unsigned char* tile, std::int64_t units, const unsigned char* x,
//       std::size_t x_stride, const std::int8_t* codebook, bool prefetch, float* sums);        sums[R][16] += ...
//   template <int Format, int R> static void run_float(the same without the codebook);
//   static void quantize_blocks(...), interleave(...): as in MatmulKernels

constexpr int kLanes = kTileLanes;

template <int... R>
struct Counts {};

// Sanitizers take minutes to compile the large kernels; two sizes reach all of the code.
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer) || \
    __has_feature(undefined_behavior_sanitizer) || __has_feature(coverage_sanitizer)
#define KINGLET_FEW_KERNELS 1
#endif
#endif
#if defined(KINGLET_FEW_KERNELS)
// With checks that do not return, clang 19 needs minutes for the unrolled kernels; the address sanitizer stays.
#pragma clang diagnostic ignored "-Wpass-failed"  // nor does it unroll all of them
#pragma clang attribute push(__attribute__((no_sanitize("undefined"))), apply_to = function)
template <int... R>
using RowCountsOf = Counts<2, 1>;
#else
template <int... R>
using RowCountsOf = Counts<R...>;
#endif

// Products of few rows pass over each tile once or twice. With more rows, up to 16 tiles that stay in L2 meet all rows,
// 16 rows (that stay in L1) at a time, the inputs cut into chunks; the sums wait in memory meanwhile, which changes no
// bit.
constexpr int kChunkRows = 16, kChunkTiles = 16;
constexpr std::size_t kChunkTileBytes = 320 << 10;
constexpr std::size_t kChunkInputBytes = 26 << 10;

template <int N, int... Index>
struct MakeIndicesOf : MakeIndicesOf<N - 1, N - 1, Index...> {};
template <int... Index>
struct Indices {};
template <int... Index>
struct MakeIndicesOf<0, Index...> {
  using Type = Indices<Index...>;
};
template <int N>
using MakeIndices = typename MakeIndicesOf<N>::Type;

template <int First, int... Rest, typename F>
inline void walk_rows(Counts<First, Rest...>, int rows, int done, F&& f) {
  while (rows - done >= First) {
    f.template operator()<First>(done);
    done += First;
  }
  if constexpr (sizeof...(Rest) > 0) walk_rows(Counts<Rest...>(), rows, done, f);
}

inline void store_sums(const MatmulCall& call, int tile, int row, int rows, const float* sums) {
  const int left = call.valid_outputs - tile * kLanes;
  const int valid = left < kLanes ? left : kLanes;
  float* y = call.y + static_cast<std::size_t>(row) * call.y_stride + static_cast<std::size_t>(tile) * kLanes;
  for (int r = 0; r < rows; ++r) {
    const float* from = sums + r * kLanes;
    float* to = y + static_cast<std::size_t>(r) * call.y_stride;
    if (valid == kLanes) {
      __builtin_memcpy(to, from, sizeof(float) * kLanes);
    } else {
      for (int lane = 0; lane < valid; ++lane) to[lane] = from[lane];
    }
  }
}

// run.operator()<R>(tile, units, x, prefetch, sums) adds to sums[R][16]. Weights that memory still has to deliver are
// fetched ahead; once a chunk is in the cache that would only cost time.
template <typename RowCounts, typename Run>
inline void multiply_all(const MatmulCall& call, std::size_t unit_bytes, std::size_t unit_input_bytes, Run&& run) {
  if (call.rows <= kChunkRows) {
    for (int tile = 0; tile < call.tile_count; ++tile) {
      const unsigned char* data = call.tiles + static_cast<std::size_t>(tile) * call.tile_bytes;
      walk_rows(RowCounts(), call.rows, 0, [&]<int R>(int row) {
        alignas(64) float sums[R * kLanes] = {};
        run.template operator()<R>(data, call.units, call.x + static_cast<std::size_t>(row) * call.x_stride, row == 0,
                                   sums);
        store_sums(call, tile, row, R, sums);
      });
    }
    return;
  }
  const std::size_t fitting = kChunkTileBytes / call.tile_bytes;
  const int chunk_tiles = fitting < 2 ? 2 : fitting < kChunkTiles ? static_cast<int>(fitting) : kChunkTiles;
  const std::int64_t fitting_units = kChunkInputBytes / (kChunkRows * unit_input_bytes);
  const std::int64_t chunk_units = fitting_units < 1 ? 1 : fitting_units;
  alignas(64) float sums[kChunkTiles * kChunkRows * kLanes];
  for (int first = 0; first < call.tile_count; first += chunk_tiles) {
    const int tiles = call.tile_count - first < chunk_tiles ? call.tile_count - first : chunk_tiles;
    const unsigned char* data = call.tiles + static_cast<std::size_t>(first) * call.tile_bytes;
    for (int row = 0; row < call.rows; row += kChunkRows) {
      const int rows = call.rows - row < kChunkRows ? call.rows - row : kChunkRows;
      const unsigned char* x = call.x + static_cast<std::size_t>(row) * call.x_stride;
      __builtin_memset(sums, 0, sizeof(float) * kChunkRows * kLanes * static_cast<std::size_t>(tiles));
      for (std::int64_t unit = 0; unit < call.units; unit += chunk_units) {
        const std::int64_t units = call.units - unit < chunk_units ? call.units - unit : chunk_units;
        for (int tile = 0; tile < tiles; ++tile) {
          walk_rows(RowCounts(), rows, 0, [&]<int R>(int r) {
            run.template operator()<R>(
                data + static_cast<std::size_t>(tile) * call.tile_bytes + static_cast<std::size_t>(unit) * unit_bytes,
                units,
                x + static_cast<std::size_t>(r) * call.x_stride + static_cast<std::size_t>(unit) * unit_input_bytes,
                row + r == 0, sums + (tile * kChunkRows + r) * kLanes);
          });
        }
      }
      for (int tile = 0; tile < tiles; ++tile)
        store_sums(call, first + tile, row, rows, sums + tile * kChunkRows * kLanes);
    }
  }
}

template <typename Kernels, int Index>
void multiply_format(const MatmulCall& call) {
  constexpr TileFormat F = kTileFormats[Index];
  multiply_all<typename Kernels::RowCounts>(
      call, F.unit_bytes(), sizeof(QuantizedBlock) * F.blocks_per_unit(),
      [&]<int R>(const unsigned char* tile, std::int64_t units, const unsigned char* x, bool prefetch, float* sums) {
        Kernels::template run<Index, R>(tile, units, x, call.x_stride, call.codebook, prefetch, sums);
      });
}

template <typename Kernels, int Format>
void multiply_float(const MatmulCall& call) {
  multiply_all<typename Kernels::FloatRowCounts>(
      call, Format == kTileFloat32 ? 64 : 32, sizeof(float),
      [&]<int R>(const unsigned char* tile, std::int64_t units, const unsigned char* x, bool prefetch, float* sums) {
        Kernels::template run_float<Format, R>(tile, units, x, call.x_stride, prefetch, sums);
      });
}

template <typename Kernels>
constexpr MatmulKernels make_kernels() {
  MatmulKernels kernels = {};
  [&]<int... Index>(Indices<Index...>) {
    ((kernels.multiply[Index] = multiply_format<Kernels, Index>), ...);
  }(MakeIndices<kTileFormatCount>());
  kernels.multiply_float[0] = multiply_float<Kernels, kTileFloat32>;
  kernels.multiply_float[1] = multiply_float<Kernels, kTileFloat16>;
  kernels.multiply_float[2] = multiply_float<Kernels, kTileBfloat16>;
  kernels.quantize_blocks = Kernels::quantize_blocks;
  kernels.interleave = Kernels::interleave;
  return kernels;
}
