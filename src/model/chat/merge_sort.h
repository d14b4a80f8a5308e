// A stable sort that stays within its bounds also where the order is inconsistent (NaN) or comparing throws.
#pragma once

#include <utility>
#include <vector>

namespace kinglet::chat {

template <typename T, typename Less>
void merge_sort(std::vector<T>& items, Less less) {
  std::vector<T> from = std::move(items);
  for (std::size_t width = 1; width < from.size(); width *= 2) {
    std::vector<T> to;
    to.reserve(from.size());
    for (std::size_t begin = 0; begin < from.size(); begin += 2 * width) {
      const std::size_t middle = begin + width < from.size() ? begin + width : from.size();
      const std::size_t end = middle + width < from.size() ? middle + width : from.size();
      std::size_t a = begin, b = middle;
      while (a < middle || b < end) {
        const bool take_b = a == middle || (b < end && less(from[b], from[a]));
        to.push_back(std::move(from[take_b ? b++ : a++]));
      }
    }
    from = std::move(to);
  }
  items = std::move(from);
}

}  // namespace kinglet::chat
