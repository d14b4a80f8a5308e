// Numbers by the hash of what they stand for, in four bytes each: the things themselves lie elsewhere, in a list.
#pragma once

#include <bit>
#include <cstdint>
#include <vector>

namespace kinglet {

/// Open addressing. A slot holds a number + 1 in as many low bits as the largest needs, and above it bits of the hash,
/// so that almost no slot is compared in vain; 0 is free.
class IndexTable {
 public:
  static constexpr std::uint32_t kNone = ~0u;

  /// For numbers below `count`, each added at most once.
  explicit IndexTable(std::size_t count = 0)
      : slots_(std::bit_ceil(count + count / 2 + 1)),
        number_bits_(~0u >> std::countl_zero(static_cast<std::uint32_t>(count) | 1u)) {}

  /// The first number of this hash for which `equal(number)` holds, else kNone.
  template <typename Equal>
  std::uint32_t find(std::uint64_t hash, const Equal& equal) const {
    const std::uint32_t tag = tag_of(hash);
    for (std::size_t slot = hash;; ++slot) {
      const std::uint32_t value = slots_[slot & (slots_.size() - 1)];
      if (value == 0) return kNone;
      if ((value & ~number_bits_) == tag && equal((value & number_bits_) - 1)) return (value & number_bits_) - 1;
    }
  }
  void add(std::uint64_t hash, std::uint32_t number) {
    std::size_t slot = hash;
    while (slots_[slot & (slots_.size() - 1)] != 0) ++slot;
    slots_[slot & (slots_.size() - 1)] = tag_of(hash) | (number + 1);
  }

 private:
  std::uint32_t tag_of(std::uint64_t hash) const { return static_cast<std::uint32_t>(hash >> 32) & ~number_bits_; }
  std::vector<std::uint32_t> slots_;
  std::uint32_t number_bits_;
};

}  // namespace kinglet
