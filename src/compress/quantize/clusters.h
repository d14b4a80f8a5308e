// Clusters of groups of eight values (k-means), for codebooks of 256 entries.
#pragma once

#include <cstdint>
#include <span>

namespace kinglet {

class ThreadPool;

struct ClusterOptions {
  int rounds = 10;
  std::uint64_t seed = 1;
  std::size_t sample = 1 << 15;  ///< groups that the rounds look at, evenly spread; all of them are assigned at the end
};

/// `values`: groups of 8 one after the other. Fills book[256 * 8] with the centres and nearest[groups] with the index
/// of each group's nearest one. Deterministic for any number of threads.
void cluster_groups(std::span<const float> values, const ClusterOptions& options, ThreadPool& pool,
                    std::span<float> book, std::span<std::uint8_t> nearest);

}  // namespace kinglet
