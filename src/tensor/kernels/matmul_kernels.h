// What one instruction set provides for matmul.h. Private to the matmul and quantize files.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/cpu.h"
#include "tensor/kernels/tile_format.h"

namespace kinglet {

struct LinearInput;
struct PackPlan;

/// One product: rows x tiles. Plain data, so that files compiled for wider instruction sets include no library code.
struct MatmulCall {
  const unsigned char* tiles;
  std::size_t tile_bytes;
  int tile_count;
  int valid_outputs;
  std::int64_t units;      ///< units of a tile (inputs, for float formats)
  const unsigned char* x;  ///< quantized rows, or f32 rows
  std::size_t x_stride;    ///< bytes
  int rows;
  float* y;
  std::size_t y_stride;         ///< floats
  const std::int8_t* codebook;  ///< 16 values, or the 64 levels of a trellis, where the format has them
};

struct MatmulKernels {
  void (*multiply[kTileFormatCount])(const MatmulCall& call);
  void (*multiply_float[3])(const MatmulCall& call);  ///< in the order of FloatTileFormat
  void (*quantize_blocks)(const float* x, std::int64_t blocks, QuantizedBlock* out);
  /// Packs codes of 16 rows: rows[16][32] (stored codes, row stride `stride` bytes) into `width` * 64 bytes.
  void (*interleave)(const std::uint8_t* rows, std::size_t stride, int width, unsigned char* out);
};

extern const MatmulKernels matmul_kernels_scalar;
#if defined(__x86_64__)
extern const MatmulKernels matmul_kernels_avx2;
extern const MatmulKernels matmul_kernels_avx512;
void quantize_blocks_avx512(const float* x, std::int64_t blocks, QuantizedBlock* out);  ///< part of them
#elif defined(__aarch64__)
extern const MatmulKernels matmul_kernels_neon;
#endif

/// The kernels of an instruction set that the machine has (tests compare them); active_isa()'s otherwise.
const MatmulKernels& matmul_kernels(Isa isa);
const MatmulKernels& matmul_kernels();

/// multiply_tiles of matmul.h with given kernels.
void multiply_tiles(const MatmulKernels& kernels, const PackPlan& plan, const std::byte* tiles, int tile_count,
                    int valid_outputs, const LinearInput& x, float* y, std::size_t stride);

}  // namespace kinglet
