// The merge loop of byte pair encoding: of all neighbouring pairs that may be merged, the one of the lowest rank, and
// of equal ranks the leftmost, until none is left. O(n log n) for a word of n symbols.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "kinglet/tokenizer.h"

namespace kinglet {

struct Merge {
  std::uint32_t rank = ~0u;  ///< ~0: the pair cannot be merged
  TokenId id = -1;
  bool possible() const { return rank != ~0u; }
};

/// A run of the initial symbols; `size` of them (0: merged into its left neighbour).
struct Symbol {
  TokenId id = -1;
  std::uint32_t size = 1;
};

/// Reused from word to word.
struct MergeScratch {
  struct Entry {
    std::uint64_t key;   ///< rank << 32 | position, so that the smallest is the next
    std::uint32_t size;  ///< of both symbols when the entry was made; another size later means that it is stale
    TokenId id;
    bool operator<(const Entry& other) const { return key > other.key; }
  };
  std::vector<Merge> merges;
  std::vector<Entry> heap;
  std::vector<std::uint32_t> previous;
};

namespace merge_detail {

/// Few symbols: scan the ranks, close the gap. Less work than a heap up to about this many.
constexpr std::size_t kFew = 32;

template <typename Find>
void merge_few(std::vector<Symbol>& symbols, std::size_t first_symbol, MergeScratch& scratch, const Find& find) {
  Symbol* begin = symbols.data() + first_symbol;
  std::size_t count = symbols.size() - first_symbol;
  Merge merges[kFew];
  std::uint32_t starts[kFew];
  std::uint32_t start = 0;
  for (std::size_t k = 0; k < count; ++k) {
    starts[k] = start;
    start += begin[k].size;
  }
  for (std::size_t k = 0; k + 1 < count; ++k) merges[k] = find(begin[k], begin[k + 1], starts[k]);
  while (count > 1) {
    std::size_t best = 0;
    for (std::size_t k = 1; k + 1 < count; ++k)
      if (merges[k].rank < merges[best].rank) best = k;
    if (!merges[best].possible()) break;
    begin[best] = {merges[best].id, begin[best].size + begin[best + 1].size};
    --count;
    for (std::size_t k = best + 1; k < count; ++k) begin[k] = begin[k + 1], starts[k] = starts[k + 1];
    for (std::size_t k = best + 1; k + 1 < count; ++k) merges[k] = merges[k + 1];
    if (best + 1 < count) merges[best] = find(begin[best], begin[best + 1], starts[best]);
    if (best > 0) merges[best - 1] = find(begin[best - 1], begin[best], starts[best - 1]);
  }
  symbols.resize(first_symbol + count);
  (void)scratch;
}

template <typename Find>
void merge_many(std::vector<Symbol>& symbols, std::size_t first_symbol, MergeScratch& scratch, const Find& find) {
  // Symbols stay at the position of their first initial symbol, so `size` also leads to the right neighbour.
  Symbol* begin = symbols.data() + first_symbol;
  const auto count = static_cast<std::uint32_t>(symbols.size() - first_symbol);
  auto& heap = scratch.heap;
  auto& previous = scratch.previous;
  heap.clear();
  previous.resize(count);
  auto consider = [&](std::uint32_t left) {
    const std::uint32_t right = left + begin[left].size;
    const Merge merge = find(begin[left], begin[right], left);
    if (!merge.possible()) return false;
    heap.push_back({std::uint64_t{merge.rank} << 32 | left, begin[left].size + begin[right].size, merge.id});
    return true;
  };
  for (std::uint32_t k = 0; k < count; ++k) {
    previous[k] = k - 1;
    if (k + 1 < count) consider(k);
  }
  std::make_heap(heap.begin(), heap.end());
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end());
    const auto entry = heap.back();
    heap.pop_back();
    const auto left = static_cast<std::uint32_t>(entry.key);
    if (begin[left].size == 0) continue;
    const std::uint32_t right = left + begin[left].size;
    if (right >= count || begin[left].size + begin[right].size != entry.size) continue;
    begin[left] = {entry.id, entry.size};
    begin[right].size = 0;
    const std::uint32_t next = left + entry.size;
    if (next < count) {
      previous[next] = left;
      if (consider(left)) std::push_heap(heap.begin(), heap.end());
    }
    if (left > 0 && consider(previous[left])) std::push_heap(heap.begin(), heap.end());
  }
  std::size_t kept = 0;
  for (std::uint32_t k = 0; k < count; ++k)
    if (begin[k].size != 0) begin[kept++] = begin[k];
  symbols.resize(first_symbol + kept);
}

}  // namespace merge_detail

/// Merges symbols[first_symbol..], each of size 1. find(left, right, start) says what a pair becomes; `start` is the
/// number of initial symbols before it.
template <typename Find>
void merge_symbols(std::vector<Symbol>& symbols, std::size_t first_symbol, MergeScratch& scratch, const Find& find) {
  if (symbols.size() - first_symbol <= merge_detail::kFew)
    merge_detail::merge_few(symbols, first_symbol, scratch, find);
  else
    merge_detail::merge_many(symbols, first_symbol, scratch, find);
}

/// Merged token and rank of a pair of ids.
class MergeTable {
 public:
  explicit MergeTable(std::size_t expected = 0) {
    std::size_t slots = 64;
    while (slots < expected * 2) slots *= 2;
    slots_.resize(slots);
  }
  /// Keeps the first of two merges of one pair. The table must have been made for at least this many.
  void add(TokenId left, TokenId right, Merge merge) {
    const std::uint64_t key = key_of(left, right);
    std::size_t slot = slot_of(key);
    for (; slots_[slot].key != kFree; slot = (slot + 1) & (slots_.size() - 1))
      if (slots_[slot].key == key) return;
    slots_[slot] = {key, merge};
  }
  Merge find(TokenId left, TokenId right) const {
    const std::uint64_t key = key_of(left, right);
    for (std::size_t slot = slot_of(key);; slot = (slot + 1) & (slots_.size() - 1)) {
      if (slots_[slot].key == key) return slots_[slot].merge;
      if (slots_[slot].key == kFree) return {};
    }
  }

 private:
  static constexpr std::uint64_t kFree = ~std::uint64_t{0};
  static std::uint64_t key_of(TokenId left, TokenId right) {
    return std::uint64_t{static_cast<std::uint32_t>(left)} << 32 | static_cast<std::uint32_t>(right);
  }
  std::size_t slot_of(std::uint64_t key) const { return (key * 0x9E3779B97F4A7C15ull >> 32) & (slots_.size() - 1); }
  struct Slot {
    std::uint64_t key = kFree;
    Merge merge;
  };
  std::vector<Slot> slots_;
};

}  // namespace kinglet
