// The layouts of packed tiles. A tile holds 16 outputs (one lane each) and all inputs, as units one after the other.
//
// Quantized formats: a unit is one block of 32 inputs, or 8 blocks under one pair of f16 units (ScaleForm::kMultiples):
//   [f16 unit x 16] [f16 minimum unit x 16]                         only with kMultiples (the second if minimums)
//   for each block: codes, then scales, then minimums (if any); with groups of 16 there are two rows of 16 scales
// Codes of a block, quad b = inputs 4b..4b+3, b = 0..7, for lane r and input i of the quad:
//   width 8:     8 lines of 64 bytes; byte 4r+i of line b holds the code
//   width 4,5,6: 4 lines; byte 4r+i of line j holds quad 2j in its low and quad 2j+1 in its high nibble (lower 4 bits)
//   width 5:     + 1 line; bit b of byte 4r+i is bit 4 of quad b
//   width 6:     + 2 lines; bits 2c, 2c+1 of byte 4r+i of line p are bits 4, 5 of quad 4p+c
//   width 1:     1 line; bit b of byte 4r+i is the code of quad b
//   width 2, 3:  2 lines; bits 2c, 2c+1 of byte 4r+i of line p are bits 0, 1 of quad 4p+c
//   width 3:     + 1 line; bit b of byte 4r+i is bit 2 of quad b
//   planes:      `width` lines, each as with width 1: bit 0 of all codes, then bit 1, …
//   trellis:     the parts of the index of a level (tensor/quantize/trellis.h)
//   width 3,5:   dword r of line p is dword p of row r's codes
//   width 2:     1 line of choices, as in the codes; 1 line of x: its bit for quad b is trellis_x_bit(b)
//   width 4:     1 line of choices, as in the codes; 3 lines l of x: bits 0-2 of byte 4r+i are those of quad 2l, bits
//   3-5
//                those of quad 2l+1; bits 6, 7 of the three lines together are the six bits of quads 6 and 7
//   width 6:     the index itself, as above
// Stored codes are unsigned; a biased format stores code + 2^(width-1), an odd one (code + 2^width - 1) / 2.
// Scales: f16 or f32 values, bytes that are the upper half of an f16 of 2^8 times the value (kFloat8), or int8
// multiples of the unit.
//
// Float formats: for each input, 16 values of 4 or 2 bytes.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kinglet/block_type.h"

namespace kinglet {

inline constexpr int kTileLanes = 16;

/// Where a two-bit trellis keeps the x of a quad: so that even quads have it at bit 5, above their field at 0, and odd
/// ones at bit 0, below their field at 1, after as few shifts as can be.
constexpr int trellis_x_bit(int quad) {
  constexpr int kBits[8] = {5, 0, 6, 1, 7, 2, 4, 3};
  return kBits[quad];
}

struct TileFormat {
  int width = 4;          ///< bits a stored code: 1 to 6 or 8
  bool biased = false;    ///< stored = code + 2^(width-1)
  bool codebook = false;  ///< stored codes are indices of a table of 16
  int group = 32;         ///< inputs a scale: 32 or 16
  bool minimum = false;
  ScaleForm scales = ScaleForm::kFloat16;
  bool trellis = false;  ///< codes are a path through a trellis of 64 levels, which are read from a table
  bool odd = false;      ///< codes are the odd integers from -(2^width - 1) to 2^width - 1
  bool planes = false;   ///< bit planes of such codes, multiplied by table look-up where rows are few (lookup.h)

  constexpr int groups() const { return 32 / group; }
  constexpr bool table() const { return codebook || trellis; }  ///< levels come from a table of signed bytes
  constexpr int memory() const { return 6 - width; }            ///< of a trellis: choice bits before that count
  constexpr int bias() const { return biased ? 1 << (width - 1) : 0; }
  constexpr int code_bytes() const { return width * 64; }
  constexpr int scale_size() const { return scales == ScaleForm::kFloat32 ? 4 : scales == ScaleForm::kFloat16 ? 2 : 1; }
  constexpr int blocks_per_unit() const { return scales == ScaleForm::kMultiples ? 8 : 1; }
  constexpr int header_bytes() const { return scales == ScaleForm::kMultiples ? (minimum ? 64 : 32) : 0; }
  constexpr int scale_bytes() const { return 16 * scale_size() * groups(); }  ///< of one block, minimums not counted
  constexpr int block_bytes() const { return code_bytes() + scale_bytes() * (minimum ? 2 : 1); }
  constexpr int unit_bytes() const { return header_bytes() + blocks_per_unit() * block_bytes(); }
};

/// The kernels are instantiated for each of these; a type takes the smallest that can hold it, and the last holds all.
inline constexpr TileFormat kTileFormats[] = {
    {1, false, false, 32, false, ScaleForm::kFloat16, false, true},  // U1
    {2, false, false, 32, false, ScaleForm::kFloat16, false, true},  // U2
    {3, false, false, 32, false, ScaleForm::kFloat16, false, true},  // U3
    {4, false, false, 32, false, ScaleForm::kFloat16, false, true},  // U4
    {4, true, false, 32, false, ScaleForm::kFloat16},                // Q4_0
    {4, false, false, 32, true, ScaleForm::kFloat16},                // Q4_1
    {5, true, false, 32, false, ScaleForm::kFloat16},                // Q5_0
    {5, false, false, 32, true, ScaleForm::kFloat16},                // Q5_1
    {8, true, false, 32, false, ScaleForm::kFloat16},                // Q8_0
    {4, false, true, 32, false, ScaleForm::kFloat16},                // IQ4_NL
    {4, false, true, 32, false, ScaleForm::kMultiples},              // IQ4_XS
    {4, false, false, 32, true, ScaleForm::kMultiples},              // Q4_K
    {5, false, false, 32, true, ScaleForm::kMultiples},              // Q5_K
    {6, true, false, 16, false, ScaleForm::kMultiples},              // Q6_K
    {3, true, false, 16, false, ScaleForm::kMultiples},              // Q3_K
    {2, false, false, 16, true, ScaleForm::kMultiples},              // Q2_K
    {2, false, false, 32, false, ScaleForm::kFloat8, true},          // K2
    {3, false, false, 32, false, ScaleForm::kFloat8, true},          // K3
    {4, false, false, 32, false, ScaleForm::kFloat8, true},          // K4
    {5, false, false, 32, false, ScaleForm::kFloat8, true},          // K5
    {6, false, false, 32, false, ScaleForm::kFloat8, true},          // K6
    {4, true, false, 32, false, ScaleForm::kMultiples},
    {4, false, true, 32, false, ScaleForm::kFloat32},
    {8, true, false, 32, false, ScaleForm::kFloat32},
    {8, true, false, 16, true, ScaleForm::kFloat32},
    {1, false, false, 32, false, ScaleForm::kFloat16, false, true, true},  // U1 to U4 by bit planes
    {2, false, false, 32, false, ScaleForm::kFloat16, false, true, true},
    {3, false, false, 32, false, ScaleForm::kFloat16, false, true, true},
    {4, false, false, 32, false, ScaleForm::kFloat16, false, true, true},
};
inline constexpr int kTileFormatCount = sizeof(kTileFormats) / sizeof(kTileFormats[0]);

/// Float formats follow the others in PackPlan::format.
enum FloatTileFormat { kTileFloat32 = kTileFormatCount, kTileFloat16, kTileBfloat16 };
constexpr bool is_float_format(int format) { return format >= kTileFormatCount; }

/// One block of a quantized row.
struct QuantizedBlock {
  std::int8_t codes[32];
  float scale;                 ///< NaN where the input was not finite (all codes are 0 then)
  float negative_sum_float;    ///< float(negative_sum)
  std::int32_t negative_sum;   ///< minus the sum of all codes
  std::int32_t negative_half;  ///< minus the sum of the first 16
};
static_assert(sizeof(QuantizedBlock) == 48);

}  // namespace kinglet
