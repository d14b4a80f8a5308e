// A set of byte strings in which all prefixes of a text are found in one walk.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "kinglet/tokenizer.h"

namespace kinglet {

class Trie {
 public:
  static constexpr std::uint32_t kRoot = 0;
  static constexpr std::uint32_t kNone = ~0u;

  Trie();
  /// False where the set would grow above 2^24 nodes; then it is unchanged in meaning but incomplete.
  bool add(std::string_view text, TokenId id);
  bool empty() const { return ids_.size() == 1; }
  std::uint32_t step(std::uint32_t node, std::uint8_t byte) const {
    if (node == kRoot) return first_[byte];
    for (std::uint32_t slot = hash(node << 8 | byte);; ++slot) {
      const Edge& edge = edges_[slot & mask_];
      if (edge.key == (node << 8 | byte)) return edge.node;
      if (edge.key == 0) return kNone;
    }
  }
  /// The string that ends at this node, -1: none.
  TokenId id(std::uint32_t node) const { return ids_[node]; }

 private:
  struct Edge {
    std::uint32_t key = 0;  ///< node << 8 | byte; the root has no edge here, so 0 is free
    std::uint32_t node = 0;
  };
  static std::uint32_t hash(std::uint32_t key) { return key * 0x9E3779B1u >> 7 ^ key * 0x85EBCA6Bu; }
  void insert(Edge edge);
  void grow();
  std::array<std::uint32_t, 256> first_;
  std::vector<Edge> edges_;
  std::uint32_t mask_ = 0;
  std::uint32_t used_ = 0;
  std::vector<TokenId> ids_;
};

}  // namespace kinglet
