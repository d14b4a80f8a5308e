// A model's attention without the model: random queries, keys and values through caches and plans.
#pragma once

#include <cstring>
#include <memory>
#include <vector>

#include "engine/attention.h"
#include "engine/cache/sequence_cache.h"

namespace kinglet::test {

struct AttentionCase {
  int heads = 3, kv_heads = 1, key_length = 32, value_length = 32, layers = 1, window = 0, threads = 1;
  KvStorage storage = KvStorage::kF16;
  bool causal = true;
  double cap = 0;
  std::int64_t context = 0;
};

/// q, k, v of positions: a function of layer and position alone, so that any way of feeding them can be compared.
class AttentionRig {
 public:
  explicit AttentionRig(const AttentionCase& c) : case_(c) {
    ModelConfig config;
    config.key_length = c.key_length;
    config.value_length = c.value_length;
    config.causal = c.causal;
    config.attention_softcap = c.cap;
    for (int i = 0; i < c.layers; ++i)
      config.per_layer.push_back({.sliding_window = c.window, .heads = c.heads, .kv_heads = c.kv_heads});
    cache_config_ = std::make_shared<CacheConfig>(cache_config(config, c.context, "rig"));
    store_ = std::make_shared<PagedStore>(
        KvLayout{.storage = c.storage, .key_length = c.key_length, .value_length = c.value_length});
    plan_ = std::move(AttentionPlan::create(config, c.storage, c.threads, 1024).value());
  }

  std::unique_ptr<SequenceCache> sequence() const { return std::make_unique<SequenceCache>(store_, cache_config_); }
  const PagedStore& store() const { return *store_; }
  AttentionPlan& plan() { return *plan_; }

  /// What stands at a position; `kind` 0: q, 1: k, 2: v. Different `token`s differ.
  std::vector<float> values(int kind, int layer, std::int64_t position, int token = 0) const {
    std::uint64_t state =
        static_cast<std::uint64_t>(kind + 3 * layer + 64 * token) + 100'000u * std::uint64_t(position);
    const int heads = kind == 0 ? case_.heads : case_.kv_heads;
    std::vector<float> x(static_cast<std::size_t>(heads * (kind == 2 ? case_.value_length : case_.key_length)));
    for (float& v : x) {  // SplitMix64, as uniform numbers of variance 1
      std::uint64_t z = state += 0x9e3779b97f4a7c15u;
      z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
      z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
      v = (static_cast<float>((z ^ (z >> 31)) >> 40) * 0x1p-23f - 1.0f) * 1.7320508f;
    }
    return x;
  }

  /// One forward call; rows' positions and `tokens` choose their values. Results [layers][rows][heads * value_length].
  Result<std::vector<float>> forward(std::vector<Row> rows, std::vector<int> tokens = {}, bool tree = false,
                                     bool commit = true) {
    if (auto ready = plan_->prepare(rows, tree, 0, case_.layers); !ready) return tl::unexpected(ready.error());
    tokens.resize(rows.size());
    const std::size_t width = static_cast<std::size_t>(case_.heads * case_.value_length);
    std::vector<float> result(rows.size() * width * static_cast<std::size_t>(case_.layers));
    for (int layer = 0; layer < case_.layers; ++layer) {
      std::vector<float> x[3];
      for (std::size_t i = 0; i < rows.size(); ++i)
        for (int kind = 0; kind < 3; ++kind) {
          const auto part = values(kind, layer, rows[i].position, tokens[i]);
          x[kind].insert(x[kind].end(), part.begin(), part.end());
        }
      queries_ = x[0];
      for (int item = 0; item < plan_->store_items(layer); ++item) plan_->store(layer, item, x[1].data(), x[2].data());
      float* out = result.data() + static_cast<std::size_t>(layer) * rows.size() * width;
      // Backwards: no order may matter.
      for (int item = plan_->attend_items(layer); item-- > 0;)
        plan_->attend(layer, item, item % case_.threads, x[0].data(), out);
    }
    if (commit) plan_->commit();
    return result;
  }

  /// Rows of one sequence from its length on.
  static std::vector<Row> chain(SequenceCache& sequence, int count) {
    std::vector<Row> rows;
    for (int i = 0; i < count; ++i)
      rows.push_back({.sequence = &sequence, .position = static_cast<std::int32_t>(sequence.length()) + i});
    return rows;
  }
  /// All rows of a chain fed in calls of the given sizes, one after the other (one layer).
  std::vector<float> feed(SequenceCache& sequence, const std::vector<int>& sizes) {
    std::vector<float> all;
    for (int size : sizes) {
      const auto part = forward(chain(sequence, size)).value();
      all.insert(all.end(), part.begin(), part.end());
    }
    return all;
  }
  const std::vector<float>& queries() const { return queries_; }

 private:
  AttentionCase case_;
  std::shared_ptr<const CacheConfig> cache_config_;
  std::shared_ptr<PagedStore> store_;
  std::unique_ptr<AttentionPlan> plan_;
  std::vector<float> queries_;
};

inline bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

}  // namespace kinglet::test
