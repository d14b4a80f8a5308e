// Matrix times rows of activations, for every block type: the weights are packed into tiles once, at load, and
// multiplied by kernels that all give the same bits, whatever the instruction set, the number of rows and the split
// between threads.
//
// One arithmetic. Output o of a row is one f32 accumulator that starts at 0.
// Quantized weights (InputFormat::kInt8), blocks k of 32 inputs in ascending order, d and q the row's scale and codes,
// c, s and m the weights' codes, scales and minimums (weight = s c - m):
//   group of 32:  t = float(sum c q) * s                        then  t = fma(m, float(-sum q), t)  if there are
//   minimums groups of 16: t = float(sum c0 q0) * s0;  t = fma(float(sum c1 q1), s1, t)
//                 then  t = fma(m0, float(-sum q0), t);  t = fma(m1, float(-sum q1), t)
//   accumulator = fma(t, d, accumulator)
// The integer sums are exact in 32 bits. Float weights (InputFormat::kFloat32), inputs k in ascending order:
//   accumulator = fma(weight, x, accumulator)
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "kinglet/block_type.h"
#include "kinglet/linear.h"

namespace kinglet {

/// Inputs that share one scale in a quantized row.
inline constexpr int kBlockInputs = 32;

/// Bytes of a quantized row of `columns` values (a multiple of 32), and the stride between rows to allocate: a multiple
/// of 16 that avoids multiples of 4096, where the rows would meet in the same cache sets.
std::size_t quantized_row_bytes(std::int64_t columns);

/// Rounds one row of `columns` values (a multiple of 32) to int8 with one f32 scale for each 32 values: the codes are
/// those of the best of eight step widths, by squared error. `out` holds quantized_row_bytes(columns) bytes, 4-aligned.
/// A block that contains a NaN or an infinity makes every output that reads it NaN.
void quantize_row(const float* x, std::int64_t columns, std::byte* out);
/// The values that quantize_row kept (for tests and reports): out[columns].
void dequantize_row(const std::byte* quantized, std::int64_t columns, float* out);

/// How a matrix [outputs, inputs] is packed: what kernels need to know of it. Plain data, cheap to copy.
struct PackPlan {
  const BlockType* type = nullptr;
  std::int64_t outputs = 0, inputs = 0;
  InputFormat input = InputFormat::kFloat32;
  int format = 0;                    ///< index of the tile format (src/tensor/kernels/tile_format.h)
  std::size_t tile_bytes = 0;        ///< bytes of one tile: 16 outputs, all inputs; a multiple of 16
  std::size_t source_row_bytes = 0;  ///< bytes of one row in the file's layout
  std::int8_t codebook[64] = {};     ///< values of the 4-bit codes, or a trellis's levels, where the format has them
  std::int64_t tiles() const { return (outputs + kTileRows - 1) / kTileRows; }
};

/// How few rows are multiplied with the types U1 to U4, which both ways can: the bits of the result are the same.
enum class ProductKernel {
  kBest,    ///< what lookup_choice (lookup.h) says
  kDot,     ///< codes are unpacked and multiplied, as with all other types
  kLookup,  ///< sums of four activations are looked up by the bits of four codes
};

/// The plan for a type and shape; nothing if `inputs` is no positive multiple of the type's block (or, for types with
/// codes, of 32), or `outputs` is not positive. Every block type can be packed: a new one needs no new kernel.
std::optional<PackPlan> plan_packing(const BlockType& type, std::int64_t outputs, std::int64_t inputs,
                                     ProductKernel kernel = ProductKernel::kBest);
/// The plan of tiles that the caller fills with int8 weights and f32 scales itself, inputs a multiple of 32 (no type,
/// no packing): for each 32 inputs eight lines of 64 bytes, of which byte 4 r + i of line b holds 128 + the weight of
/// output r and input 4 b + i, then 16 scales.
PackPlan plan_bytes(std::int64_t outputs, std::int64_t inputs);

/// "U1 by look-up (2.1 ns for 32 x 16 weights, plain 2.9)" where there is a choice, else empty.
std::string describe_kernel(const PackPlan& plan);
inline std::size_t tile_bytes(const PackPlan& plan) { return plan.tile_bytes; }

/// Packs the tiles [tile_begin, tile_end) of the whole row-major tensor `source` into
/// out[(tile_end - tile_begin) * plan.tile_bytes], 16-aligned (64 is faster). Outputs past the last are packed as
/// zeros.
void pack_tiles(const PackPlan& plan, const std::byte* source, std::int64_t tile_begin, std::int64_t tile_end,
                std::byte* out);

/// The exact values of output row `lane` (0..15) of a packed tile: out[plan.inputs], bit-equal to BlockType::decode.
void unpack_row(const PackPlan& plan, const std::byte* tile, int lane, float* out);

/// y[r * stride + o] for r in [0, x.rows) and o in [0, valid_outputs), where o counts from the first output of the
/// first of `tile_count` tiles that lie one after the other; nothing else is written. valid_outputs <= 16 * tile_count
/// and above 16 * (tile_count - 1). Reads x.quantized or x.values as plan.input says. Rows up to any number in one call
/// are best: the weights are unpacked once for up to 16 rows. Allocates nothing; the instruction set is active_isa().
void multiply_tiles(const PackPlan& plan, const std::byte* tiles, int tile_count, int valid_outputs,
                    const LinearInput& x, float* y, std::size_t stride);

}  // namespace kinglet
