#include "compress/search/screening.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace kinglet {
namespace {

constexpr std::uint64_t kMostUnits = 65536;

/// Bytes of a level above those of the lowest.
std::uint64_t added(const SearchItem& item, std::size_t level) { return item.bytes[level] - item.bytes.front(); }

/// The largest number of bytes that all steps are multiples of; 0 where there are none.
std::uint64_t common_unit(std::span<const SearchItem> items) {
  std::uint64_t unit = 0;
  for (const SearchItem& item : items)
    for (std::size_t level = 1; level < item.bytes.size(); ++level) unit = std::gcd(unit, added(item, level));
  return unit;
}

}  // namespace

SearchPoint least_loss(std::span<const SearchItem> items, std::span<const std::vector<double>> losses,
                       std::uint64_t budget, bool exact) {
  SearchPoint point(items.size(), 0);
  const std::uint64_t lowest = bytes_of(items, point);
  if (lowest > budget) return {};
  const std::uint64_t room = budget - lowest, common = std::max<std::uint64_t>(1, common_unit(items));
  const bool fine = room / common <= kMostUnits;
  if (exact && (!fine || room % common != 0)) return {};
  const std::uint64_t unit = fine ? common : room / kMostUnits + 1;
  const std::size_t units = static_cast<std::size_t>(room / unit) + 1;
  // least[u]: of the items so far, with u units in all; chosen[i][u]: the level of item i in it.
  std::vector<double> least(units, INFINITY), next(units);
  least[0] = 0;
  std::vector<std::vector<std::uint8_t>> chosen(items.size(), std::vector<std::uint8_t>(units, 0));
  for (std::size_t i = 0; i < items.size(); ++i) {
    std::fill(next.begin(), next.end(), INFINITY);
    for (std::size_t level = 0; level < items[i].bytes.size(); ++level) {
      const auto step = static_cast<std::size_t>((added(items[i], level) + unit - 1) / unit);
      for (std::size_t u = step; u < units; ++u) {
        const double loss = least[u - step] + losses[i][level];
        if (loss < next[u]) {
          next[u] = loss;
          chosen[i][u] = static_cast<std::uint8_t>(level);
        }
      }
    }
    std::swap(least, next);
  }
  std::size_t at =
      exact ? units - 1 : static_cast<std::size_t>(std::min_element(least.begin(), least.end()) - least.begin());
  if (!std::isfinite(least[at])) return {};
  for (std::size_t i = items.size(); i-- > 0;) {
    point[i] = chosen[i][at];
    at -= static_cast<std::size_t>((added(items[i], chosen[i][at]) + unit - 1) / unit);
  }
  return point;
}

}  // namespace kinglet
