// How the numbers of a tensor are stored. One file of src/tensor/types is one type; the engine, the kernels and the
// converters ask the descriptor and never the name.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace kinglet {

/// What is known of the scales (and minimums) of all blocks of a type, so that the kernels' tiles can keep them small.
enum class ScaleForm {
  kFloat32,  ///< any f32
  kFloat16,  ///< each is exactly an f16 number
  kFloat8,  ///< each is 2^-8 times a number of 1 sign, 5 exponent and 2 fraction bits, the upper half of an f16 (tiles)
  kMultiples,  ///< in each block: f16 unit x integer in [-128, 127], exactly; BlockType::multiples gives both
};

/// What a block means once its bits are spread out: within a group g of `group` consecutive values,
/// value = scale[g] * code - minimum[g] (minimum absent = 0), rounded once per operation in f32.
struct CodeForm {
  int bits = 0;            ///< width of the stored code: 2..8 (0: the type is a float type and has no codes)
  int group = 32;          ///< values a scale: 16 or 32
  bool is_signed = false;  ///< codes are in [-2^(bits-1), 2^(bits-1)); otherwise in [0, 2^bits)
  bool has_minimum = false;
  const std::int8_t* codebook =
      nullptr;  ///< 2^bits entries; then `codes` gives indices into it, value = scale * codebook[code]
  ScaleForm scales = ScaleForm::kFloat32;
  /// Where the type is a trellis (src/tensor/quantize/trellis.h): the 64 levels, and the bits a value in the file. The
  /// codes that BlockType::codes gives are the levels themselves (`bits` is 8 then).
  const std::int8_t* trellis = nullptr;
  int trellis_bits = 0;
};

/// A tensor type of the GGUF format (or of Kinglet's own), for row-major data in blocks along the row.
/// All functions are pure and may be called from several threads.
struct BlockType {
  std::string_view name;      ///< as GGUF tools print it: "Q4_1"
  std::uint32_t gguf_id = 0;  ///< ggml's number of the type
  int block_values = 1;       ///< values a block; a row's length must be a multiple
  int block_bytes = 0;        ///< bytes a block
  CodeForm form;

  /// Exact values of `blocks` consecutive blocks: out[blocks * block_values]. Bit-equal to ggml's reference.
  void (*decode)(const std::byte* data, std::size_t blocks, float* out) = nullptr;

  /// The integers behind them, for the kernels: codes[blocks * block_values]; scales and minimums, one for each group
  /// of form.group values (minimums may be null where has_minimum is false). Null for float types.
  void (*codes)(const std::byte* data, std::size_t blocks, std::int8_t* codes, float* scales,
                float* minimums) = nullptr;

  /// Where form.scales is kMultiples (the K-quants, whose blocks have 256 values): the factors of what `codes` gives,
  /// exact in f32: scale[g] = unit[block] * scale_multiples[g] and minimum[g] = minimum_unit[block] *
  /// minimum_multiples[g]; the minimum pointers may be null where form.has_minimum is false. Null for other types.
  void (*multiples)(const std::byte* data, std::size_t blocks, float* units, float* minimum_units,
                    std::int8_t* scale_multiples, std::int8_t* minimum_multiples) = nullptr;

  /// Rounds values to blocks, minimising sum(importance[i] * error[i]^2) (importance null: all values alike).
  /// Null where Kinglet only reads the type.
  void (*encode)(const float* values, std::size_t blocks, const float* importance, std::byte* out) = nullptr;

  /// Types whose codes depend on those before: coding position j of each 32 values holds column coding_order[j].
  const std::uint8_t* coding_order = nullptr;  ///< 32 entries; null: no such order

  /// Trellis types: block by block of 32 values, trellis_bits * 4 bytes of codes and a scale byte (trellis.h).
  void (*trellis_parts)(const std::byte* data, std::size_t blocks, std::byte* codes, std::uint8_t* scales) = nullptr;

  /// Kinglet's own types come in several block lengths under one name: the one for rows of `columns` values, null if
  /// none fits. Null for types of one length. See fitting_block_type.
  const BlockType* (*variant)(std::int64_t columns) = nullptr;
  /// GGUF has no number for it: stored as I8 with its name in the metadata (docs/formats.md). gguf_id is only unique.
  bool is_native = false;
  std::string_view paper = "";  ///< number of the paper's card, "" for the field's standard types
  std::string_view help = "A tensor type of GGUF files";

  double bits_per_weight() const { return 8.0 * block_bytes / block_values; }
  std::uint64_t row_bytes(std::uint64_t values) const { return values / block_values * block_bytes; }
};

/// Every type, in alphabetical order.
std::span<const BlockType* const> block_types();
/// The type, or the one of its family, for rows of `columns` values; null if they are not whole blocks of any.
const BlockType* fitting_block_type(const BlockType& type, std::int64_t columns);
/// By name (any case) or GGUF number (native types have none); null if there is none.
const BlockType* find_block_type(std::string_view name);
const BlockType* find_block_type(std::uint32_t gguf_id);

}  // namespace kinglet
