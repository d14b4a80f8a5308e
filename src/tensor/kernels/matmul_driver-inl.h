// The loops around the kernels of one instruction set: which rows and tiles meet when. Included by each matmul_ISA.cpp
// inside its anonymous namespace, so that every file compiles its own copy with its own flags.
//
// `Kernels` provides
//   using RowCounts = Counts<…>, FloatRowCounts = …;   rows of its kernels, descending, the last 1
//   template <int Format, int R> static void run(const unsigned char* tile, std::int64_t units, const unsigned char* x,
//       std::size_t x_stride, const std::int8_t* codebook, Fetch fetch, float* sums);          sums[R][16] += ...
//   template <int Format, int R> static void run_float(the same without the codebook);
//   static constexpr int kPairsFrom = …;   from so many rows on two tiles are multiplied at once; 0: never. If not 0:
//   using PairRowCounts = Counts<…>; template <int Format, int R> static void run_pair(tile, tile_bytes, units, x,
//       x_stride, codebook, prefetch, sums, sums_apart);
//   static void quantize_blocks(...), interleave(...): as in MatmulKernels

constexpr int kLanes = kTileLanes;

// How weights are fetched ahead, if at all: for one use, past the second-level cache, so that the activations stay in
// it; or into that cache too, because other work comes before their use (they are the first of the thread's next
// product) or because they are used again. Kernels may take both for the latter.
enum Fetch { kFetchNothing, kFetchOnce, kFetchToKeep };

// No kernel fetches further ahead.
constexpr int kMostFetchedAhead = 12288;

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

// Rows x tiles of one chunk of units: sums[tile][sums_rows][16] += ... `runs.one<R>(tile, units, x, fetch, sums)`
// adds to sums[R][16]; `runs.two<R>(…, sums_apart)` does two tiles at once, where the kernels have that. Weights that
// memory still has to deliver are fetched ahead; once a chunk is in the cache that would only cost time.
template <typename Runs>
inline void multiply_chunk(const MatmulCall& call, const Runs& runs, const unsigned char* tile, int tiles,
                           std::int64_t units, const unsigned char* x, int rows, bool prefetch, int sums_rows,
                           float* sums) {
  const std::size_t apart = static_cast<std::size_t>(sums_rows) * kLanes;
  const auto row_at = [&](int row) { return x + static_cast<std::size_t>(row) * call.x_stride; };
  for (int done = 0; done < tiles;) {
    int step = 1;
    if constexpr (Runs::kPairsFrom > 0) step = rows >= Runs::kPairsFrom && tiles - done > 1 ? 2 : 1;
    if (step == 1) {
      walk_rows(typename Runs::RowCounts(), rows, 0, [&]<int R>(int row) {
        const Fetch fetch = prefetch && row == 0 ? kFetchToKeep : kFetchNothing;
        runs.template one<R>(tile, units, row_at(row), fetch, sums + row * kLanes);
      });
    } else if constexpr (Runs::kPairsFrom > 0) {
      constexpr int kPassRows = 4;
      walk_rows(typename Runs::PairRowCounts(), rows, 0, [&]<int R>(int row) {
        // Each pass over the tiles fetches as much, so that the memory is never idle.
        const int fetch = !prefetch ? 0 : row > 0 ? (row < 2 * kPassRows ? 2 : 0) : rows > kPassRows ? 1 : 3;
        runs.template two<R>(tile, units, row_at(row), fetch, sums + row * kLanes, apart);
      });
    }
    done += step;
    tile += static_cast<std::size_t>(step) * call.tile_bytes;
    sums += static_cast<std::size_t>(step) * apart;
  }
}

// Few rows, all pairs of tiles; returns how many tiles that were.
template <typename Runs>
inline int multiply_pairs(const MatmulCall& call, const Runs& runs) {
  alignas(64) float sums[2 * kChunkRows * kLanes];
  int tile = 0;
  for (; tile + 1 < call.tile_count; tile += 2) {
    __builtin_memset(sums, 0, sizeof(float) * static_cast<std::size_t>(2 * call.rows) * kLanes);
    multiply_chunk(call, runs, call.tiles + static_cast<std::size_t>(tile) * call.tile_bytes, 2, call.units, call.x,
                   call.rows, true, call.rows, sums);
    for (int t = 0; t < 2; ++t) store_sums(call, tile + t, 0, call.rows, sums + t * call.rows * kLanes);
  }
  return tile;
}

// Half of a few rows' inputs were written by another core a moment ago. Asked for all at once, their lines arrive
// together; the first tile alone would wait for one after the other.
inline void fetch_inputs(const MatmulCall& call, std::size_t unit_input_bytes) {
  const std::size_t bytes = static_cast<std::size_t>(call.units) * unit_input_bytes;
  for (int row = 0; row < call.rows; ++row) {
    const unsigned char* x = call.x + static_cast<std::size_t>(row) * call.x_stride;
    for (std::size_t at = 0; at < bytes; at += 64) __builtin_prefetch(x + at);
  }
}

template <typename Runs>
inline void multiply_all(const MatmulCall& call, std::size_t unit_bytes, std::size_t unit_input_bytes,
                         const Runs& runs) {
  if (call.rows <= kChunkRows) {
    if (call.rows > 1) fetch_inputs(call, unit_input_bytes);
    int tile = 0;
    if constexpr (Runs::kPairsFrom > 0) {
      if (call.rows >= Runs::kPairsFrom) tile = multiply_pairs(call, runs);
    }
    for (; tile < call.tile_count; ++tile) {
      const unsigned char* data = call.tiles + static_cast<std::size_t>(tile) * call.tile_bytes;
      const std::size_t left = static_cast<std::size_t>(call.tile_count - tile - 1) * call.tile_bytes;
      const Fetch first = left < kMostFetchedAhead ? kFetchToKeep : kFetchOnce;
      walk_rows(typename Runs::RowCounts(), call.rows, 0, [&]<int R>(int row) {
        alignas(64) float sums[R * kLanes] = {};
        runs.template one<R>(data, call.units, call.x + static_cast<std::size_t>(row) * call.x_stride,
                             row == 0 ? first : kFetchNothing, sums);
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
        multiply_chunk(call, runs, data + static_cast<std::size_t>(unit) * unit_bytes, tiles, units,
                       x + static_cast<std::size_t>(unit) * unit_input_bytes, rows, row == 0, kChunkRows, sums);
      }
      for (int tile = 0; tile < tiles; ++tile)
        store_sums(call, first + tile, row, rows, sums + tile * kChunkRows * kLanes);
    }
  }
}

template <typename Kernels, int Index>
struct FormatRuns {
  using RowCounts = typename Kernels::RowCounts;
  using PairRowCounts = typename Kernels::PairRowCounts;
  static constexpr int kPairsFrom = Kernels::kPairsFrom;
  const MatmulCall& call;
  template <int R>
  void one(const unsigned char* tile, std::int64_t units, const unsigned char* x, Fetch fetch, float* sums) const {
    Kernels::template run<Index, R>(tile, units, x, call.x_stride, call.codebook, fetch, sums);
  }
  template <int R>
  void two(const unsigned char* tile, std::int64_t units, const unsigned char* x, int fetch, float* sums,
           std::size_t apart) const {
    Kernels::template run_pair<Index, R>(tile, call.tile_bytes, units, x, call.x_stride, call.codebook, fetch, sums,
                                         apart);
  }
};

template <typename Kernels, int Format>
struct FloatRuns {
  using RowCounts = typename Kernels::FloatRowCounts;
  static constexpr int kPairsFrom = 0;
  const MatmulCall& call;
  template <int R>
  void one(const unsigned char* tile, std::int64_t units, const unsigned char* x, Fetch fetch, float* sums) const {
    Kernels::template run_float<Format, R>(tile, units, x, call.x_stride, fetch, sums);
  }
};

#include "tensor/kernels/lookup_driver-inl.h"

template <typename Kernels, int Index>
void multiply_format(const MatmulCall& call) {
  constexpr TileFormat F = kTileFormats[Index];
  if constexpr (F.planes) {
    if (call.rows <= kLookupRows) return multiply_lookup<Kernels, Index>(call);
  }
  multiply_all(call, F.unit_bytes(), sizeof(QuantizedBlock) * F.blocks_per_unit(), FormatRuns<Kernels, Index>{call});
}

template <typename Kernels, int Format>
void multiply_float(const MatmulCall& call) {
  multiply_all(call, Format == kTileFloat32 ? 64 : 32, sizeof(float), FloatRuns<Kernels, Format>{call});
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
