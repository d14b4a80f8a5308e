// Large zeroed memory for weights, caches and activations.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "kinglet/result.h"

namespace kinglet {

/// Huge ones (2 MiB) are asked for, never demanded: fewer misses in tables of addresses, but a touched byte costs 2
/// MiB.
enum class Pages { kHuge, kSmall };

/// An anonymous mapping that starts at a 2 MiB border. Pages are zero and cost memory only once touched, by the thread
/// (and so near the core) that touches them first. Movable, freed on destruction.
class AlignedMemory {
 public:
  static constexpr std::size_t kAlignment = std::size_t{2} << 20;

  AlignedMemory() = default;
  /// kExhausted, naming the size, where the system refuses. `bytes` 0 gives an empty region.
  static Result<AlignedMemory> allocate(std::uint64_t bytes, Pages pages = Pages::kHuge);
  AlignedMemory(AlignedMemory&& other) noexcept;
  AlignedMemory& operator=(AlignedMemory&& other) noexcept;
  ~AlignedMemory();

  std::byte* data() const { return data_; }
  std::size_t size() const { return size_; }
  std::span<std::byte> bytes() const { return {data_, size_}; }

 private:
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
  void* mapping_ = nullptr;
  std::size_t mapping_size_ = 0;
};

}  // namespace kinglet
