// The merge loop of byte pair encoding: of all neighbouring pairs that may be merged, the one of the lowest rank, and
// of equal ranks the leftmost, until none is left. O(n log n) for a word of n symbols.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <vector>

#include "kinglet/tokenizer.h"
#include "model/tokenizer/index_table.h"

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

/// Pairs that wait to be merged, by rank and then by position. A long word has few different ranks, and those of one
/// rank are mostly found from left to right, so a queue for each rank beats one heap of them all by far.
class MergeQueue {
 public:
  struct Entry {
    std::uint32_t position = 0;
    std::uint32_t size = 0;  ///< of both symbols when the entry was made; another size later means that it is stale
    TokenId id = -1;
    bool operator<(const Entry& other) const { return position > other.position; }
  };

  void clear() {
    for (std::uint32_t k = 0; k < used_; ++k) table_[lanes_[k].slot] = 0;
    used_ = 0;
    active_.clear();
  }
  void push(std::uint32_t rank, Entry entry) {
    const std::uint32_t index = lane_of(rank);
    Lane& lane = lanes_[index];
    if (lane.next == lane.in_order.size()) lane.in_order.clear(), lane.next = 0;
    if (lane.in_order.empty() || lane.in_order.back().position <= entry.position) {
      lane.in_order.push_back(entry);
    } else {
      lane.late.push_back(entry);
      std::push_heap(lane.late.begin(), lane.late.end());
    }
    if (lane.active) return;
    lane.active = true;
    active_.push_back(std::uint64_t{rank} << 32 | index);
    std::push_heap(active_.begin(), active_.end(), std::greater<>());
  }
  /// False when nothing is left.
  bool pop(Entry& entry) {
    while (!active_.empty()) {
      Lane& lane = lanes_[static_cast<std::uint32_t>(active_.front())];
      const bool has_first = lane.next < lane.in_order.size();
      if (has_first && (lane.late.empty() || lane.in_order[lane.next].position < lane.late.front().position)) {
        entry = lane.in_order[lane.next++];
        return true;
      }
      if (!lane.late.empty()) {
        std::pop_heap(lane.late.begin(), lane.late.end());
        entry = lane.late.back();
        lane.late.pop_back();
        return true;
      }
      lane.active = false;
      std::pop_heap(active_.begin(), active_.end(), std::greater<>());
      active_.pop_back();
    }
    return false;
  }

 private:
  struct Lane {
    std::uint32_t rank = 0;
    bool active = false;
    std::size_t slot = 0;  ///< in table_
    std::size_t next = 0;
    std::vector<Entry> in_order;  ///< ascending positions, taken from `next` on
    std::vector<Entry> late;      ///< a heap of those that came out of order
  };

  std::size_t slot_of(std::uint32_t rank) const {
    std::size_t slot = (rank * 0x9E3779B97F4A7C15ull >> 32) & (table_.size() - 1);
    while (table_[slot] != 0 && lanes_[table_[slot] - 1].rank != rank) slot = (slot + 1) & (table_.size() - 1);
    return slot;
  }
  std::uint32_t lane_of(std::uint32_t rank) {
    std::size_t slot = slot_of(rank);
    if (table_[slot] != 0) return table_[slot] - 1;
    if (used_ == lanes_.size()) lanes_.emplace_back();
    Lane& lane = lanes_[used_++];
    lane.rank = rank, lane.active = false, lane.slot = slot, lane.next = 0;
    lane.in_order.clear(), lane.late.clear();
    table_[slot] = used_;
    if (used_ * 2 > table_.size()) {
      table_.assign(table_.size() * 2, 0);
      for (std::uint32_t k = 0; k < used_; ++k) {
        lanes_[k].slot = slot_of(lanes_[k].rank);
        table_[lanes_[k].slot] = k + 1;
      }
    }
    return used_ - 1;
  }

  std::vector<Lane> lanes_;
  std::uint32_t used_ = 0;
  std::vector<std::uint32_t> table_ = std::vector<std::uint32_t>(64);  ///< lane + 1 by rank, 0: free
  std::vector<std::uint64_t> active_;                                  ///< heap of rank << 32 | lane
};

/// Reused from word to word.
struct MergeScratch {
  MergeQueue queue;
  std::vector<std::uint32_t> previous;
};

namespace merge_detail {

/// Few symbols: scan the ranks, close the gap. Less work than queues up to about this many.
constexpr std::size_t kFew = 32;

template <typename Find>
void merge_few(std::vector<Symbol>& symbols, std::size_t first_symbol, const Find& find) {
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
}

template <typename Find>
void merge_many(std::vector<Symbol>& symbols, std::size_t first_symbol, MergeScratch& scratch, const Find& find) {
  // Symbols stay at the position of their first initial symbol, so `size` also leads to the right neighbour.
  Symbol* begin = symbols.data() + first_symbol;
  const auto count = static_cast<std::uint32_t>(symbols.size() - first_symbol);
  MergeQueue& queue = scratch.queue;
  auto& previous = scratch.previous;
  queue.clear();
  previous.resize(count);
  auto consider = [&](std::uint32_t left) {
    const std::uint32_t right = left + begin[left].size;
    const Merge merge = find(begin[left], begin[right], left);
    if (merge.possible()) queue.push(merge.rank, {left, begin[left].size + begin[right].size, merge.id});
  };
  for (std::uint32_t k = 0; k < count; ++k) {
    previous[k] = k - 1;
    if (k + 1 < count) consider(k);
  }
  MergeQueue::Entry entry;
  while (queue.pop(entry)) {
    const std::uint32_t left = entry.position;
    if (begin[left].size == 0) continue;
    const std::uint32_t right = left + begin[left].size;
    if (right >= count || begin[left].size + begin[right].size != entry.size) continue;
    begin[left] = {entry.id, entry.size};
    begin[right].size = 0;
    const std::uint32_t next = left + entry.size;
    if (next < count) {
      previous[next] = left;
      consider(left);
    }
    if (left > 0) consider(previous[left]);
  }
  std::size_t kept = 0;
  for (std::uint32_t k = 0; k < count; ++k)
    if (begin[k].size != 0) begin[kept++] = begin[k];
  symbols.resize(first_symbol + kept);
}

/// A word of one repeated symbol (a line of dashes, a megabyte of spaces): a run of one id and a short tail, so that a
/// whole round of merges is one step. False, with the symbols as they were, where the ranks do not allow rounds.
template <typename Find>
bool merge_repeated(std::vector<Symbol>& symbols, std::size_t first_symbol, const Find& find) {
  Symbol unit = symbols[first_symbol];
  std::size_t count = symbols.size() - first_symbol;
  std::vector<Symbol> tail;  // at most one symbol more a round
  while (true) {
    // All pairs there are: inside the run, at its end, and in the tail; the leftmost of the lowest rank.
    Merge best = count >= 2 ? find(unit, unit, 0) : Merge{};
    std::size_t where = 0;  // 0: in the run, 1: its last and tail[0], k + 1: tail[k - 1] and tail[k]
    auto start = static_cast<std::uint32_t>((count - 1) * unit.size);
    for (std::size_t k = count >= 1 ? 0 : 1; k < tail.size(); ++k) {
      const Symbol& left = k == 0 ? unit : tail[k - 1];
      if (count == 0 && k == 1) start = 0;
      const Merge merge = find(left, tail[k], start);
      start += left.size;
      if (merge.rank < best.rank) best = merge, where = k + 1;
    }
    if (!best.possible()) break;
    if (where == 0) {
      const Symbol twice{best.id, unit.size * 2};
      // The round is whole only if nothing that it makes comes before its own pairs.
      if (count > 2 && find(twice, unit, 0).rank <= best.rank) return false;
      if (count > 3 && find(twice, twice, 0).rank <= best.rank) return false;
      if (count % 2 != 0) tail.insert(tail.begin(), unit);
      count /= 2;
      unit = twice;
    } else if (where == 1) {
      tail[0] = {best.id, unit.size + tail[0].size};
      --count;
    } else {
      tail[where - 2] = {best.id, tail[where - 2].size + tail[where - 1].size};
      tail.erase(tail.begin() + static_cast<std::ptrdiff_t>(where) - 1);
    }
  }
  symbols.resize(first_symbol);
  symbols.insert(symbols.end(), count, unit);
  symbols.insert(symbols.end(), tail.begin(), tail.end());
  return true;
}

}  // namespace merge_detail

/// Merges symbols[first_symbol..], each of size 1. find(left, right, start) says what a pair becomes; `start` is the
/// number of initial symbols before it.
template <typename Find>
void merge_symbols(std::vector<Symbol>& symbols, std::size_t first_symbol, MergeScratch& scratch, const Find& find) {
  if (symbols.size() - first_symbol <= merge_detail::kFew) {
    merge_detail::merge_few(symbols, first_symbol, find);
    return;
  }
  const bool repeated = std::all_of(symbols.begin() + static_cast<std::ptrdiff_t>(first_symbol), symbols.end(),
                                    [&](const Symbol& symbol) { return symbol.id == symbols[first_symbol].id; });
  // Symbols without an id may be different characters.
  if (repeated && symbols[first_symbol].id >= 0 && merge_detail::merge_repeated(symbols, first_symbol, find)) return;
  merge_detail::merge_many(symbols, first_symbol, scratch, find);
}

/// Merged token and rank of a pair of ids.
class MergeTable {
 public:
  /// For at most `count` merges.
  explicit MergeTable(std::size_t count = 0) : table_(count) { pairs_.reserve(count); }
  /// The next rank. Of two merges of one pair the first counts.
  void add(TokenId left, TokenId right, TokenId id) {
    if (!find(left, right).possible()) table_.add(hash_of(left, right), static_cast<std::uint32_t>(pairs_.size()));
    pairs_.push_back({left, right, id});
  }
  Merge find(TokenId left, TokenId right) const {
    const std::uint32_t rank = table_.find(
        hash_of(left, right), [&](std::uint32_t at) { return pairs_[at].left == left && pairs_[at].right == right; });
    return rank == IndexTable::kNone ? Merge{} : Merge{rank, pairs_[rank].id};
  }

 private:
  struct Pair {
    TokenId left = -1, right = -1, id = -1;
  };
  static std::uint64_t hash_of(TokenId left, TokenId right) {
    const std::uint64_t key = std::uint64_t{static_cast<std::uint32_t>(left)} << 32 | static_cast<std::uint32_t>(right);
    const std::uint64_t hash = key * 0x9E3779B97F4A7C15ull;
    return hash ^ hash >> 32;
  }
  IndexTable table_;
  std::vector<Pair> pairs_;  ///< by rank
};

}  // namespace kinglet
