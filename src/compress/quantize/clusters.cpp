#include "compress/quantize/clusters.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <random>
#include <vector>

#include "base/thread_pool.h"
#include "compress/quantize/cheapest_entry.h"
#include "model/additive_format.h"

namespace kinglet {
namespace {

constexpr std::size_t kGroup = kAdditiveGroup, kEntries = kAdditiveEntries, kPart = 4096;

void assign(std::span<const float> values, std::span<const float> book, ThreadPool& pool,
            std::span<std::uint8_t> nearest) {
  // Nearest is the least |c|^2 / 2 - c x.
  const EntrySearch search(book);
  std::vector<float> squares(kEntries);
  for (std::size_t c = 0; c < kEntries; ++c)
    for (std::size_t k = 0; k < kGroup; ++k) squares[c] += book[c * kGroup + k] * book[c * kGroup + k];
  std::atomic<std::size_t> next{0};
  pool.run([&](int) {
    for (std::size_t begin = kPart * next++; begin < nearest.size(); begin = kPart * next++)
      for (std::size_t i = begin; i < std::min(begin + kPart, nearest.size()); ++i)
        nearest[i] = search.cheapest(squares.data(), 0.5f, values.data() + i * kGroup);
  });
}

}  // namespace

void cluster_groups(std::span<const float> values, const ClusterOptions& options, ThreadPool& pool,
                    std::span<float> book, std::span<std::uint8_t> nearest) {
  const std::size_t groups = nearest.size(), count = std::min(groups, std::max(options.sample, kEntries));
  std::vector<float> sample(count * kGroup);
  for (std::size_t i = 0; i < count; ++i)
    std::copy_n(values.data() + i * groups / count * kGroup, kGroup, sample.data() + i * kGroup);
  std::mt19937_64 random(options.seed);
  for (std::size_t c = 0; c < kEntries; ++c)
    std::copy_n(sample.data() + random() % count * kGroup, kGroup, book.data() + c * kGroup);
  std::vector<std::uint8_t> chosen(count);
  for (int round = 0; round < options.rounds; ++round) {
    assign(sample, book, pool, chosen);
    std::vector<double> sums(kEntries * kGroup);
    std::vector<std::size_t> uses(kEntries);
    for (std::size_t i = 0; i < count; ++i) {
      ++uses[chosen[i]];
      for (std::size_t k = 0; k < kGroup; ++k) sums[chosen[i] * kGroup + k] += sample[i * kGroup + k];
    }
    for (std::size_t c = 0; c < kEntries; ++c) {
      if (uses[c] == 0) {  // an entry that nobody wants starts anew
        std::copy_n(sample.data() + random() % count * kGroup, kGroup, book.data() + c * kGroup);
        continue;
      }
      for (std::size_t k = 0; k < kGroup; ++k)
        book[c * kGroup + k] = static_cast<float>(sums[c * kGroup + k] / static_cast<double>(uses[c]));
    }
  }
  assign(values, book, pool, nearest);
}

}  // namespace kinglet
