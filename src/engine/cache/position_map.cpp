#include "engine/cache/position_map.h"

namespace kinglet {

/// A tail that begins with the next number belongs to the identity: equal maps have one form.
void PositionMap::absorb() {
  std::size_t count = 0;
  while (count < tail_.size() && tail_[count] == identity_) ++count, ++identity_;
  tail_.erase(tail_.begin(), tail_.begin() + static_cast<std::ptrdiff_t>(count));
}

void PositionMap::append(std::span<const std::int32_t> positions) {
  std::size_t count = 0;
  if (tail_.empty())
    while (count < positions.size() && positions[count] == identity_) ++count, ++identity_;
  tail_.insert(tail_.end(), positions.begin() + static_cast<std::ptrdiff_t>(count), positions.end());
}

void PositionMap::cut(std::int64_t slots) {
  if (slots >= this->slots()) return;
  tail_.resize(static_cast<std::size_t>(std::max<std::int64_t>(slots - identity_, 0)));
  identity_ = std::min(identity_, slots);
}

void PositionMap::keep(std::int64_t begin, std::span<const std::int64_t> slots) {
  std::vector<std::int32_t> kept;
  kept.reserve(slots.size());
  for (const std::int64_t slot : slots) kept.push_back(static_cast<std::int32_t>((*this)[slot]));
  cut(begin);
  append(kept);
}

bool PositionMap::ascends() const {
  std::int64_t before = identity_ - 1;
  for (const std::int32_t position : tail_) {
    if (position <= before) return false;
    before = position;
  }
  return true;
}

std::int64_t PositionMap::first_from(std::int64_t position) const {
  if (position < identity_) return std::max<std::int64_t>(position, 0);
  return identity_ + (std::lower_bound(tail_.begin(), tail_.end(), position) - tail_.begin());
}

}  // namespace kinglet
