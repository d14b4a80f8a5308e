// Entropy coding of bf16 and f16 numbers without loss: of each number one byte is Huffman-coded and the other kept as
// it is. After DFloat11 (arXiv 2504.11651), with blocks that decode alone instead of its tables for GPUs.
//
// bf16: the coded byte is the exponent, the raw one sign and fraction. f16: coded is the upper byte (sign, exponent,
// two bits of fraction), raw the lower one.
//
//   0  "KFC1"
//   4  u8 kind (0: bf16, 1: f16), u8 0, u16 0
//   8  u64 count of numbers
//  16  u32 numbers a block (kFloatBlock), u32 blocks
//  24  128 bytes: code lengths of the 256 symbols, 4 bits each (low first), 0: does not occur, at most 12
// 152  for each block: u32 end of its codes (bytes from the codes' begin), u32 check sum of its numbers
//      count raw bytes, then the codes: canonical (shorter first, then by symbol), most significant bit first, each
//      block padded to a byte with zeros
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "kinglet/result.h"

namespace kinglet {

enum class FloatKind : std::uint8_t { kBfloat16 = 0, kFloat16 = 1 };

inline constexpr std::uint32_t kFloatBlock = 16384;

/// What encode_floats gives for these numbers: exact size, without making it. Shannon's bound for the coded bytes too.
struct FloatCodeSize {
  std::uint64_t bytes = 0;
  double entropy_bits = 0;  ///< of a coded byte
};
FloatCodeSize float_code_size(FloatKind kind, std::span<const std::uint16_t> numbers);

/// kUnsupported where the codes exceed 4 GiB. Every bit pattern survives (NaN payloads, signed zeros, denormals).
Result<std::vector<std::byte>> encode_floats(FloatKind kind, std::span<const std::uint16_t> numbers);

/// A coded tensor in memory, checked but for the codes themselves.
class FloatCode {
 public:
  /// kCorrupt where the header does not describe `count` numbers of `kind` in exactly these bytes.
  static Result<FloatCode> open(std::span<const std::byte> bytes, FloatKind kind, std::uint64_t count);
  std::uint32_t blocks() const { return blocks_; }
  std::uint64_t count() const { return count_; }
  /// Numbers [block * kFloatBlock, ...) of one block; `out` holds min(kFloatBlock, count - block * kFloatBlock). Blocks
  /// are independent: any order, any thread. kCorrupt where the codes or the sum are wrong, whatever the bytes became
  /// since open().
  Result<void> decode_block(std::uint32_t block, std::uint16_t* out) const;
  /// The blocks [first, first + count), one behind the other in `out`; two at a time, since each waits for its
  /// look-ups.
  Result<void> decode_blocks(std::uint32_t first, std::uint32_t count, std::uint16_t* out) const;
  Result<void> decode_all(std::span<std::uint16_t> out) const;

 private:
  FloatCode() = default;
  FloatKind kind_ = FloatKind::kBfloat16;
  std::uint64_t count_ = 0;
  std::uint32_t blocks_ = 0;
  const std::uint8_t* index_ = nullptr;
  const std::uint8_t* raw_ = nullptr;
  const std::uint8_t* codes_ = nullptr;
  std::uint64_t codes_size_ = 0;
  /// By the next 12 bits, the codes that lie wholly in them, up to three: symbols in the lower bytes, first one lowest;
  /// from bit 24 on their number (2 bits) and the bits they take (4). 0 where no code begins so.
  std::vector<std::uint32_t> table_;
  std::array<std::uint8_t, 256> lengths_ = {};
};

}  // namespace kinglet
