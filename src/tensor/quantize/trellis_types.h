// The eight block lengths of one trellis type, from its levels.
#pragma once

#include <array>
#include <string_view>
#include <utility>

#include "kinglet/block_type.h"
#include "tensor/quantize/trellis.h"
#include "tensor/quantize/trellis_encode.h"
#include "tensor/quantize/unpack.h"

namespace kinglet {

/// `Levels::kValues` are the 64 levels.
template <int Bits, class Levels, int Groups>
struct TrellisType : TrellisLayout<Bits, Groups> {
  using Layout = TrellisLayout<Bits, Groups>;

  static void unpack(const std::uint8_t* block, std::int8_t* codes, float* scales, float*) {
    for (int g = 0; g < Groups; ++g) {
      scales[g] = trellis_scale(Layout::scale_byte(block, g));
      std::uint8_t windows[kTrellisGroup];
      read_windows<Bits>(Layout::codes(block, g), windows);
      for (int j = 0; j < kTrellisGroup; ++j)
        codes[g * kTrellisGroup + trellis_column(j)] = Levels::kValues[windows[j]];
    }
  }

  static void parts(const std::byte* data, std::size_t blocks, std::byte* codes, std::uint8_t* scales) {
    constexpr int kCodeBytes = Trellis<Bits>::kCodeBytes;
    for (std::size_t b = 0; b < blocks; ++b) {
      const std::uint8_t* block = octets(data) + b * Layout::kBytes;
      for (int g = 0; g < Groups; ++g, codes += kCodeBytes) {
        *scales++ = Layout::scale_byte(block, g);
        std::copy_n(Layout::codes(block, g), kCodeBytes, octets(codes));
      }
    }
  }

  static void encode(const float* values, std::size_t blocks, const float* importance, std::byte* out) {
    TrellisEncoder<Bits, Groups> encoder(Levels::kValues);
    for (std::size_t b = 0; b < blocks; ++b) {
      const std::size_t at = b * Layout::kValues;
      encoder.encode(values + at, importance == nullptr ? nullptr : importance + at, octets(out) + b * Layout::kBytes);
    }
  }
};

/// ggml has no number for these: any that it will not use.
constexpr std::uint32_t native_type_id(int bits) { return 0x4B4C0000u + static_cast<std::uint32_t>(bits); }

template <int Bits, class Levels, int Groups>
constexpr BlockType make_trellis_type(std::string_view name, const BlockType* (*variant)(std::int64_t)) {
  using Type = TrellisType<Bits, Levels, Groups>;
  BlockType type;
  type.name = name;
  type.gguf_id = native_type_id(Bits);
  type.block_values = Type::kValues;
  type.block_bytes = Type::kBytes;
  type.form.bits = 8;
  type.form.group = kTrellisGroup;
  type.form.is_signed = true;
  type.form.scales = ScaleForm::kFloat16;
  type.form.trellis = Levels::kValues;
  type.form.trellis_bits = Bits;
  type.decode = decode_blocks<Type>;
  type.codes = unpack_blocks<Type>;
  type.trellis_parts = Type::parts;
  type.encode = Type::encode;
  type.coding_order = kTrellisOrder;
  type.variant = variant;
  type.is_native = true;
  type.help = "Paths through a trellis of 64 levels";
  return type;
}

/// Lengths 32 to 224; the type of 256 stands alone (its descriptor is the registered one).
template <int Bits, class Levels, int... Index>
constexpr std::array<BlockType, 7> make_short_trellis_types(std::string_view name,
                                                            const BlockType* (*variant)(std::int64_t),
                                                            std::integer_sequence<int, Index...>) {
  return {make_trellis_type<Bits, Levels, Index + 1>(name, variant)...};
}

/// The longest block that rows of `columns` values are whole blocks of.
inline const BlockType* trellis_variant(const BlockType& longest, const std::array<BlockType, 7>& others,
                                        std::int64_t columns) {
  if (columns <= 0) return nullptr;
  if (columns % 256 == 0) return &longest;
  for (int groups = 7; groups > 0; --groups)
    if (columns % (groups * kTrellisGroup) == 0) return &others[static_cast<std::size_t>(groups) - 1];
  return nullptr;
}

}  // namespace kinglet
