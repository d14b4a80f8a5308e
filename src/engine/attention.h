// Attention of one forward call: which rows see which positions, cut into items that any thread may take.
//
// prepare() once a call, on one thread; then for each layer, inside a parallel region:
//   store(layer, item, k, v)   for all items of store_items(layer)     (k with its norm and RoPE done)
//   barrier
//   attend(layer, item, thread, q, o)   for all items of attend_items(layer)
//   barrier
// and commit() once after the last layer, on one thread. Items differ in cost: let threads take the next one from a
// counter. Which thread takes which, and in which order, cannot change a bit of the result.
//
// What a row sees is decided by positions: slots whose position is not above its own (of equal ones the earlier slots),
// nor below its window; in a tree, of the call's rows only its ancestors. Where slots hold their own numbers and rows
// come in order that is a range of slots, which nobody has to look up.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/aligned_memory.h"
#include "engine/attention_tile.h"
#include "engine/cache/sequence_cache.h"
#include "engine/item_queue.h"
#include "engine/key_rotation.h"
#include "kinglet/architecture.h"
#include "kinglet/engine.h"
#include "tensor/kernels/attention.h"

namespace kinglet {

class AttentionPlan {
 public:
  /// Allocates the scratch of `threads` threads.
  /// `compacts`: whether the caches have a policy (see CachePolicy), whose layers' keys come unrotated.
  static Result<std::unique_ptr<AttentionPlan>> create(const ModelConfig& config, KvStorage storage, int threads,
                                                       int max_rows, bool compacts = false);

  /// A vector [kv_heads * key_length] that store() takes from every key of the layer, for storages with few levels. A
  /// constant in all keys adds the same to all scores of a row, so attention stays what it is, and large biases
  /// (Qwen's) cost no levels. Ignored where keys are rotated late: `bias` is turned by each slot's angle then.
  void take_from_keys(int layer, std::vector<float> bias);

  /// Groups the rows by sequence and makes room in the caches. All sequences must be SequenceCaches of one store.
  /// The rows of a sequence take its next slots in their order. Errors: kInvalidArgument for a parent that is not an
  /// earlier row of the same sequence, or layers that have seen different numbers of positions; kUnsupported where a
  /// sliding layer has forgotten what a row would see; those of SequenceCache::reserve. Then no sequence has changed.
  Result<void> prepare(std::span<const Row> rows, bool tree, int layer_begin, int layer_end);

  /// Whether this plan rotates the layer's keys, when it reads them.
  bool rotates_keys(int layer) const { return compacts_ && sizes(layer).window <= 0; }
  /// Rotary positions of the call's rows in such layers: their slots. Empty where there are none.
  std::span<const std::int32_t> slot_positions() const { return slot_positions_; }

  int store_items(int layer) const;
  /// k [rows, kv_heads * key_length], v [rows, kv_heads * value_length].
  void store(int layer, int item, const float* k, const float* v) const;

  int attend_items(int layer) const;
  /// q [rows, heads * key_length] with norm and RoPE done, not yet scaled; o [rows, heads * value_length].
  void attend(int layer, int item, int thread, const float* q, float* o) const;

  /// The next item of attend() for this thread, -1 when all are taken. begin_items() of all threads, and a barrier,
  /// come before the first of a layer.
  int next_item(int layer, int thread) const { return queue_->take(attend_items(layer), thread); }
  void begin_items(int thread) const { queue_->reset(thread); }

  /// Starts to fetch what a thread's items read from the cache, as far as its own caches hold it.
  void fetch(int layer, int thread) const;

  /// The rows' slots belong to their sequences from now on.
  void commit();

  /// What `head` of `row` looks at: its softmax weights over the slots [0, last visible], 0 where it does not see one.
  /// For analysis: slow, allocates. Between store() and commit().
  std::vector<float> weights(int layer, int row, int head, const float* q) const;

  std::uint64_t bytes() const;

 private:
  AttentionPlan() = default;
  struct SequenceRows {  ///< the rows of one sequence
    SequenceCache* cache = nullptr;
    std::int32_t first = 0, count = 0;  ///< in order_
    bool tree = false;                  ///< a chain is none, whatever the call says
    bool in_order = true;               ///< positions rise by one a row from the first row's, or a level of the tree
  };
  struct RowPlace {
    std::int32_t row = 0;        ///< index in the call
    std::int32_t depth = 0;      ///< rows of this call that it continues
    std::int32_t ancestors = 0;  ///< start of its path in paths_ (trees): the slot - base of depth 0, 1, … depth
  };
  struct StoreRun {                                 ///< rows of one sequence whose keys one item of store() packs
    std::int32_t sequence = 0, begin = 0, end = 0;  ///< in order_
  };
  /// Some rows of a sequence and some heads of one KV head: the query rows of a tile, over some of the chunks.
  struct Item {
    std::int32_t sequence = 0, first = 0, tokens = 0;  ///< rows first … first + tokens of the sequence
    std::int32_t kv_head = 0, head = 0, heads = 0;     ///< query heads head … head + heads
    std::int32_t split = 0, splits = 1, counter = 0;
    std::int64_t partial = 0;  ///< first float of its chunks in partials_
  };
  /// Layers with equal heads, windows and numbers of slots share their items.
  struct Shape {
    int layer = 0;  ///< the first of them
    std::vector<Item> items;
  };
  struct LayerSizes {
    std::int64_t heads = 0, kv_heads = 0, window = 0;
    bool operator==(const LayerSizes&) const = default;
  };

  const LayerSizes& sizes(int layer) const { return sizes_[static_cast<std::size_t>(layer)]; }
  const Shape& shape(int layer) const {
    return shapes_[static_cast<std::size_t>(shape_of_[static_cast<std::size_t>(layer)])];
  }
  /// Whether the layer's slots, and those of the call behind them, hold their own numbers.
  bool is_plain(const SequenceRows& sequence, int layer) const;
  bool same_shape(int layer, int other) const;
  void find_shapes();
  Result<void> group_rows(std::span<const Row> rows, bool tree);
  Result<void> check_layers() const;
  void place_rows();
  void find_runs();
  Result<void> find_paths(std::span<const Row> rows, SequenceRows& sequence);
  std::int64_t token_tiles(std::int32_t tokens) const;
  std::int32_t tokens_of_a_tile(int layer, std::int32_t most, std::int64_t tiles_a_token) const;
  void make_items(Shape& shape, std::int32_t& counters, std::int64_t& partials);
  void add_splits(Shape& shape, Item item, std::int64_t most, std::int32_t& counters, std::int64_t& partials);
  AttentionTile make_tile(int layer, const Item& item) const;
  std::size_t fetch_item(int layer, int index) const;
  void look_up(const SequenceRows& sequence, const Item& item, AttentionTile& tile) const;

  KvLayout layout_;
  bool causal_ = true;
  float scale_ = 1, cap_ = 0;
  int threads_ = 1;
  std::vector<LayerSizes> sizes_;  ///< by layer
  std::vector<Shape> shapes_;      ///< one a layer, so that their items keep their memory; the first shape_count_ count
  int shape_count_ = 0;
  std::vector<int> shape_of_;  ///< by layer
  int layer_begin_ = 0, layer_end_ = 0;
  std::vector<SequenceRows> sequences_;
  std::vector<RowPlace> order_;      ///< rows by sequence, in slot order
  std::vector<std::int32_t> place_;  ///< inverse: call row -> index in order_
  std::vector<StoreRun> runs_;
  std::vector<std::int32_t> paths_;
  std::vector<std::int32_t> positions_;  ///< as order_
  bool compacts_ = false;
  std::vector<std::vector<float>> taken_;     ///< by layer; empty: nothing
  std::unique_ptr<KeyRotation> rotation_;     ///< with compacts_
  std::vector<std::int32_t> slot_positions_;  ///< by call row
  std::unique_ptr<std::atomic<std::int32_t>[]> counters_;
  std::unique_ptr<ItemQueue> queue_;
  AlignedMemory scratch_, partials_;
};

}  // namespace kinglet
