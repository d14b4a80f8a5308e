// What one sequence remembers: for each layer the pages of its KV heads and how many positions they hold.
//
// The policy is per layer: a full layer keeps all positions; a sliding one only the pages that a coming row can still
// see, and kRollback positions more, so that drafted tokens can be taken back. A slot is a place in a layer, in the
// order of filling; which position it holds says the layer's PositionMap. For these policies they are the same number
// as long as rows come in order. Under a CachePolicy the full layers drop slots when a call finds more than its
// capacity: at the beginning of the call, so that what the last one fed could still be taken back.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/cache/paged_store.h"
#include "engine/cache/position_map.h"
#include "kinglet/cache_policy.h"
#include "kinglet/engine.h"

namespace kinglet {

KvStorage kv_storage(CacheType type);

/// What all sequences of an engine have in common.
struct CacheConfig {
  struct Layer {
    int kv_heads = 0;
    std::int64_t window = 0;  ///< positions that a row sees, itself included; 0: all
    int policy_layer = -1;    ///< its number among those that the policy has; -1: a sliding one, or no policy
  };
  std::vector<Layer> layers;
  std::int64_t context = 0;                   ///< most positions of a sequence; 0: no limit
  std::string fingerprint;                    ///< which model and policy; a snapshot of another is refused
  std::shared_ptr<const CachePolicy> policy;  ///< null: everything stays
};
/// `fingerprint`: anything that names the weights (a checksum, or name and size of the file) and the policy.
CacheConfig cache_config(const ModelConfig& model, std::int64_t context, std::string fingerprint,
                         std::shared_ptr<const CachePolicy> policy = nullptr);

/// Rows that stopped on their way up (TokenPruning), and where they stopped.
struct WaitingRows {
  std::vector<std::int32_t> positions;
  std::vector<float> hidden;  ///< [positions, width]
};

class SequenceCache final : public Sequence {
 public:
  /// A sliding layer keeps this many positions more than its window (and what its pages hold beside).
  static constexpr std::int64_t kRollback = kKvChunk;

  SequenceCache(std::shared_ptr<PagedStore> store, std::shared_ptr<const CacheConfig> config);
  ~SequenceCache() override;

  /// Positions seen: one more than the highest that was committed, in the layer that is furthest behind.
  std::int64_t length() const override;
  Result<void> truncate(std::int64_t length) override;
  Result<std::unique_ptr<Sequence>> fork() const override;
  /// Works after the tree's rows were stored, committed or not.
  Result<void> keep_path(std::int64_t base, std::span<const std::int32_t> offsets) override;
  Result<std::string> snapshot() const override;
  Result<void> restore(std::string_view bytes) override;
  std::uint64_t bytes() const override;

  /// Calls since the last one with several rows of this sequence: what the warm-up of FeedForwardSkip counts.
  std::int64_t answered = 0;

  /// By stage of TokenPruning; a fork has its own. With such rows a sequence has no snapshot.
  std::vector<WaitingRows> waiting;

  const PagedStore& store() const { return *store_; }
  const CacheConfig& config() const { return *config_; }
  /// Slots that count, and one more than the highest position that a layer has seen: the same number without gaps.
  std::int64_t slots(int layer) const { return at(layer).length; }
  std::int64_t seen(int layer) const { return at(layer).seen; }
  /// Positions of the kept slots, and of the reserved ones behind them.
  const PositionMap& positions(int layer) const { return at(layer).positions; }
  /// Whether positions() ascend, as of the last reserve().
  bool ascends(int layer) const { return at(layer).ascends; }
  /// Whether a policy has the layer: its keys are kept unrotated, and stand where their slot is.
  bool is_compacted(int layer) const { return config_->layers[static_cast<std::size_t>(layer)].policy_layer >= 0; }
  /// The first slot that is not forgotten; a multiple of kKvChunk.
  std::int64_t first_slot(int layer) const { return at(layer).first_page * kKvChunk; }

  /// Makes room for one more slot a position in the layers [begin, end): pages that are this sequence's own.
  /// kExhausted with both figures above the context, or where memory ends; then nothing that can be seen has changed.
  /// Allocates only where a page is needed, or a slot's position is not its number.
  Result<void> reserve(int begin, int end, std::span<const std::int32_t> positions);
  /// The reserved slots count from now on; a sliding layer forgets what no later row sees.
  void commit(int begin, int end);

  /// Groups of slots [16 * group, 16 * group + 16): kept or reserved ones only.
  std::byte* key_group(int layer, int kv_head, std::int64_t group) const {
    return store_->key_group(page(layer, kv_head, group / kKvGroups), static_cast<int>(group % kKvGroups));
  }
  std::byte* value_group(int layer, int kv_head, std::int64_t group) const {
    return store_->value_group(page(layer, kv_head, group / kKvGroups), static_cast<int>(group % kKvGroups));
  }

 private:
  struct LayerCache {
    std::int64_t length = 0;      ///< slots that count
    std::int64_t seen = 0;        ///< one more than the highest position committed
    PositionMap positions;        ///< of the slots that count, or were reserved by the last call
    bool ascends = true;          ///< whether positions do
    std::int64_t cursor = 0;      ///< the policy's
    std::int64_t compacted = 0;   ///< seen when the policy last dropped slots
    std::int64_t first_page = 0;  ///< pages before it are forgotten
    std::vector<KvPage> pages;    ///< [page - first_page][kv_head]
  };
  const LayerCache& at(int layer) const { return layers_[static_cast<std::size_t>(layer)]; }
  LayerCache& at(int layer) { return layers_[static_cast<std::size_t>(layer)]; }
  int heads(int layer) const { return config_->layers[static_cast<std::size_t>(layer)].kv_heads; }
  std::int64_t window(int layer) const { return config_->layers[static_cast<std::size_t>(layer)].window; }
  const KvPage& page(int layer, int kv_head, std::int64_t index) const {
    const LayerCache& cache = at(layer);
    return cache.pages[static_cast<std::size_t>((index - cache.first_page) * heads(layer) + kv_head)];
  }
  Result<void> compact(int layer);
  Result<void> check_positions(int begin, int end, std::span<const std::int32_t> positions) const;
  Result<void> check_rollback(std::int64_t wanted) const;
  Result<void> claim_slots(int layer, std::int64_t begin, std::int64_t end);
  Result<void> add_pages(int layer, std::int64_t count);
  Result<void> make_own(KvPage& page);
  Result<void> keep_slots(int layer, std::int64_t begin, std::span<const std::int64_t> slots);
  void move_slots(int layer, int head, std::int64_t from, std::int64_t to, bool whole);
  void forget_unseen(int layer);
  void drop_after(int layer, std::int64_t slots);
  std::int64_t slot_of(int layer, std::int64_t base) const;
  void clear();

  friend class SnapshotWriter;
  friend class SnapshotReader;

  std::shared_ptr<PagedStore> store_;
  std::shared_ptr<const CacheConfig> config_;
  std::vector<LayerCache> layers_;
  std::vector<std::int64_t> kept_;  ///< of keep_path: kept, so that it allocates once
};

}  // namespace kinglet
