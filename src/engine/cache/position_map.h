// Which position each slot of a layer holds.
//
// A slot is a place in a layer's memory; its position is the token's place in the text. They are the same number as
// long as rows come in order and nothing is dropped, and that leading part takes no memory. A policy that drops slots,
// a tree of drafted tokens and rows that join late are why they can differ: then a list names the position of each
// further slot. A position may stand in several slots (siblings of a tree) and in any order.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

namespace kinglet {

class PositionMap {
 public:
  PositionMap() = default;
  /// `identity` slots that hold their own number, then one slot for each of `tail`.
  PositionMap(std::int64_t identity, std::vector<std::int32_t> tail) : identity_(identity), tail_(std::move(tail)) {
    absorb();
  }

  std::int64_t slots() const { return identity_ + std::ssize(tail_); }
  /// Slots below it hold their own number.
  std::int64_t identity() const { return identity_; }
  /// Positions of the slots from identity() on.
  std::span<const std::int32_t> tail() const { return tail_; }
  std::int64_t operator[](std::int64_t slot) const {
    return slot < identity_ ? slot : tail_[static_cast<std::size_t>(slot - identity_)];
  }

  void append(std::span<const std::int32_t> positions);
  /// Forgets the slots >= `slots`.
  void cut(std::int64_t slots);
  /// Slot `begin` + i takes what slots[i] (ascending, >= begin) held; what was behind is forgotten.
  void keep(std::int64_t begin, std::span<const std::int64_t> slots);

  /// Whether each slot's position is above that of the slot before it.
  bool ascends() const;
  /// The first slot whose position is >= `position`; the map must ascend.
  std::int64_t first_from(std::int64_t position) const;

  bool operator==(const PositionMap&) const = default;

 private:
  void absorb();

  std::int64_t identity_ = 0;
  std::vector<std::int32_t> tail_;  ///< never begins with identity_
};

}  // namespace kinglet
