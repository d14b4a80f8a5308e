#include "model/tokenizer/trie.h"

namespace kinglet {

Trie::Trie() : edges_(64), mask_(63), ids_(1, -1) { first_.fill(kNone); }

bool Trie::add(std::string_view text, TokenId id) {
  std::uint32_t node = kRoot;
  for (char c : text) {
    const auto byte = static_cast<std::uint8_t>(c);
    std::uint32_t next = step(node, byte);
    if (next == kNone) {
      if (ids_.size() >= 1u << 24) return false;
      next = static_cast<std::uint32_t>(ids_.size());
      ids_.push_back(-1);
      if (node == kRoot) {
        first_[byte] = next;
      } else {
        if (++used_ * 2 > edges_.size()) grow();
        insert({node << 8 | byte, next});
      }
    }
    node = next;
  }
  if (node != kRoot && ids_[node] < 0) ids_[node] = id;
  return true;
}

void Trie::insert(Edge edge) {
  std::uint32_t slot = hash(edge.key);
  while (edges_[slot & mask_].key != 0) ++slot;
  edges_[slot & mask_] = edge;
}

void Trie::grow() {
  std::vector<Edge> old(edges_.size() * 2);
  old.swap(edges_);
  mask_ = static_cast<std::uint32_t>(edges_.size()) - 1;
  for (const Edge& edge : old)
    if (edge.key != 0) insert(edge);
}

}  // namespace kinglet
