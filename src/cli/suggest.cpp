#include <algorithm>
#include <limits>

#include "cli/parse.h"

namespace kinglet {
namespace {

// Edits (insert, delete, replace, swap of neighbours) between two short words.
int distance(std::string_view a, std::string_view b) {
  std::vector<int> before(b.size() + 1), row(b.size() + 1), two_before;
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = static_cast<int>(j);
  for (std::size_t i = 1; i <= a.size(); ++i) {
    two_before = before;
    before = row;
    row[0] = static_cast<int>(i);
    for (std::size_t j = 1; j <= b.size(); ++j) {
      row[j] = std::min({before[j] + 1, row[j - 1] + 1, before[j - 1] + (a[i - 1] != b[j - 1])});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        row[j] = std::min(row[j], two_before[j - 2] + 1);
    }
  }
  return row[b.size()];
}

}  // namespace

std::string nearest(std::string_view word, std::span<const std::string_view> candidates) {
  std::string_view best;
  if (word.empty() || word.size() > 64) return {};
  int least = std::numeric_limits<int>::max();
  for (const std::string_view candidate : candidates) {
    int edits = distance(word, candidate);
    if (word.size() >= 3 && candidate.starts_with(word)) edits = 1;
    if (edits < least) least = edits, best = candidate;
  }
  const int allowed = word.size() <= 4 ? 1 : word.size() <= 7 ? 2 : 3;
  return least <= allowed ? std::string(best) : std::string();
}

}  // namespace kinglet
