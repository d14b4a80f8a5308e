// The block types of power-exponent quantization: one f16 scale a block, then the codes, lowest bits first. Value =
// scale * level(code), with the levels of the type's exponent (power_levels.h). A block is the longest multiple of 32
// up to 256 that divides the row.
#pragma once

#include <array>
#include <string_view>
#include <utility>

#include "kinglet/block_type.h"
#include "tensor/quantize/bytes.h"
#include "tensor/quantize/power_levels.h"
#include "tensor/quantize/table_encode.h"

namespace kinglet {

/// 32 codes as 4 * Bits bytes.
template <int Bits>
void pack_32(const std::uint8_t* codes, std::uint8_t* out) {
  std::uint64_t held = 0;
  int count = 0;
  for (int i = 0; i < 32; ++i) {
    held |= static_cast<std::uint64_t>(codes[i]) << count;
    for (count += Bits; count >= 8; count -= 8, held >>= 8) *out++ = static_cast<std::uint8_t>(held);
  }
}

template <int Bits>
void unpack_32(const std::uint8_t* from, std::int8_t* codes) {
  std::uint64_t held = 0;
  int count = 0;
  for (int i = 0; i < 32; ++i) {
    for (; count < Bits; count += 8) held |= static_cast<std::uint64_t>(*from++) << count;
    codes[i] = static_cast<std::int8_t>(held & ((1u << Bits) - 1));
    held >>= Bits;
    count -= Bits;
  }
}

/// What all exponents and lengths of one width share.
template <int Bits>
struct PowerBlocks {
  static constexpr std::size_t bytes(int groups) { return 2 + static_cast<std::size_t>(4 * Bits * groups); }

  static void codes(int groups, const std::byte* data, std::size_t blocks, std::int8_t* codes, float* scales,
                    float* minimums) {
    for (std::size_t b = 0; b < blocks; ++b) {
      const std::uint8_t* block = octets(data) + b * bytes(groups);
      scales[b] = load_f16(block);
      if (minimums != nullptr) minimums[b] = 0;
      for (int g = 0; g < groups; ++g, codes += 32) unpack_32<Bits>(block + 2 + 4 * Bits * g, codes);
    }
  }

  static void decode(const std::int8_t* levels, int groups, const std::byte* data, std::size_t blocks, float* out) {
    std::int8_t block_codes[256];
    for (std::size_t b = 0; b < blocks; ++b, data += bytes(groups)) {
      float scale;
      codes(groups, data, 1, block_codes, &scale, nullptr);
      for (int i = 0; i < 32 * groups; ++i) *out++ = scale * static_cast<float>(levels[block_codes[i]]);
    }
  }

  static void encode(const std::int8_t* levels, int groups, const float* values, std::size_t blocks,
                     const float* importance, std::byte* out) {
    const std::size_t count = 32 * static_cast<std::size_t>(groups);
    TableBlock block;
    for (std::size_t b = 0; b < blocks; ++b, values += count, out += bytes(groups)) {
      const float* weights = importance == nullptr ? nullptr : importance + b * count;
      encode_table_block({levels, 1 << Bits}, {values, count}, weights, block);
      store_u16(octets(out), block.scale);
      for (int g = 0; g < groups; ++g) pack_32<Bits>(block.codes + 32 * g, octets(out) + 2 + 4 * Bits * g);
    }
  }
};

template <int Bits, int Exponent>
struct PowerTable {
  static constexpr auto kLevels = power_levels<Bits>(Exponent);
  /// "P4_75"; the usual exponent's is "P4".
  static constexpr auto kText = [] {
    std::array<char, 6> text = {'P', '0' + Bits, '_'};
    std::size_t at = 3;
    if (Exponent >= 100) text[at++] = '1';
    text[at++] = static_cast<char>('0' + Exponent / 10 % 10);
    text[at++] = static_cast<char>('0' + Exponent % 10);
    return text;
  }();
  static constexpr std::string_view kName = Exponent == kPowerUsual
                                                ? std::string_view(kText.data(), 2)
                                                : std::string_view(kText.data(), Exponent >= 100 ? 6 : 5);
};

/// A block of `Groups` * 32 values.
template <int Bits, int Exponent, int Groups>
constexpr BlockType make_power_type(const BlockType* (*variant)(std::int64_t)) {
  using Blocks = PowerBlocks<Bits>;
  using Table = PowerTable<Bits, Exponent>;
  BlockType type;
  type.name = Table::kName;
  type.gguf_id = 0x4B500000u + static_cast<std::uint32_t>(1000 * Bits + Exponent);
  type.block_values = 32 * Groups;
  type.block_bytes = static_cast<int>(Blocks::bytes(Groups));
  type.form = {.bits = Bits,
               .group = 32 * Groups,
               .is_signed = false,
               .has_minimum = false,
               .codebook = Table::kLevels.data(),
               .scales = ScaleForm::kFloat16};
  type.decode = [](const std::byte* data, std::size_t blocks, float* out) {
    Blocks::decode(Table::kLevels.data(), Groups, data, blocks, out);
  };
  type.codes = [](const std::byte* data, std::size_t blocks, std::int8_t* codes, float* scales, float* minimums) {
    Blocks::codes(Groups, data, blocks, codes, scales, minimums);
  };
  type.encode = [](const float* values, std::size_t blocks, const float* importance, std::byte* out) {
    Blocks::encode(Table::kLevels.data(), Groups, values, blocks, importance, out);
  };
  type.variant = variant;
  type.is_native = true;
  return type;
}

/// All types of one width. `Registered` is the descriptor of the usual exponent in blocks of 256.
template <int Bits, const BlockType& Registered>
class PowerFamily {
 public:
  static constexpr BlockType registered() { return make_power_type<Bits, kPowerUsual, 8>(variant<kPowerUsual>); }
  /// `hundredths`: kPowerFirst .. kPowerLast in steps of kPowerStep.
  static const BlockType* with_exponent(int hundredths) {
    return by_index((hundredths - kPowerFirst) / kPowerStep, std::make_integer_sequence<int, kPowerCount>());
  }

 private:
  template <int Exponent>
  static const BlockType* variant(std::int64_t columns) {
    static constexpr auto kTypes = lengths<Exponent>(std::make_integer_sequence<int, 8>());
    if (columns <= 0) return nullptr;
    for (int groups = 8; groups > 0; --groups) {
      if (columns % (32 * groups) != 0) continue;
      return groups == 8 && Exponent == kPowerUsual ? &Registered : &kTypes[static_cast<std::size_t>(groups) - 1];
    }
    return nullptr;
  }

  template <int Exponent, int... Index>
  static constexpr std::array<BlockType, 8> lengths(std::integer_sequence<int, Index...>) {
    return {make_power_type<Bits, Exponent, Index + 1>(variant<Exponent>)...};
  }

  template <int... Index>
  static const BlockType* by_index(int index, std::integer_sequence<int, Index...>) {
    static constexpr const BlockType* (*kVariants[])(std::int64_t) = {variant<kPowerFirst + kPowerStep * Index>...};
    return kVariants[index](256);
  }
};

}  // namespace kinglet
