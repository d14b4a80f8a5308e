#include "engine/attention.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>

#include "base/thread_pool.h"
#include "base/try.h"
#include "engine/attention_tile.h"

namespace kinglet {
namespace {

/// Chunks kept apart until the last of a tile's splits merges them. 2 MiB hold 512 chunks (131,072 positions) of the
/// 9 heads of a SmolLM2; a tile that finds no room is not split.
constexpr std::int64_t kPartialFloats = std::int64_t{2} << 18;

/// Items a thread should find, so that an uneven share costs little.
constexpr int kItemsPerThread = 4;

/// Most rows whose keys one item of store() packs: a group, when they begin at one.
constexpr int kStoreRows = kKvGroup;

/// What a thread fetches before it may store and attend: waiting for memory group after group would take longer.
constexpr std::size_t kFetchedBytes = std::size_t{96} << 10;

std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

}  // namespace

Result<std::unique_ptr<AttentionPlan>> AttentionPlan::create(const ModelConfig& config, KvStorage storage, int threads,
                                                             int max_rows, bool compacts) {
  std::unique_ptr<AttentionPlan> plan(new AttentionPlan);
  plan->compacts_ = compacts;
  if (compacts && config.rope != RopeKind::kNone) plan->rotation_ = std::make_unique<KeyRotation>(config);
  plan->layout_ = {.storage = storage,
                   .key_length = static_cast<int>(config.key_length),
                   .value_length = static_cast<int>(config.value_length)};
  plan->causal_ = config.causal;
  plan->scale_ = static_cast<float>(config.attention_scale > 0 ? config.attention_scale
                                                               : 1 / std::sqrt(static_cast<double>(config.key_length)));
  plan->cap_ = static_cast<float>(config.attention_softcap);
  plan->threads_ = threads;
  plan->queue_ = std::make_unique<ItemQueue>(threads);
  for (const LayerConfig& layer : config.per_layer)
    plan->sizes_.push_back({.heads = layer.heads, .kv_heads = layer.kv_heads, .window = layer.sliding_window});
  plan->taken_.resize(plan->sizes_.size());
  plan->shapes_.resize(plan->sizes_.size());
  plan->shape_of_.resize(plan->sizes_.size());
  plan->order_.reserve(static_cast<std::size_t>(max_rows));
  plan->place_.reserve(static_cast<std::size_t>(max_rows));
  plan->positions_.reserve(static_cast<std::size_t>(max_rows));
  plan->runs_.reserve(static_cast<std::size_t>(max_rows));
  // A tile is split only where there are fewer tiles than a thread should find.
  const std::size_t counters = static_cast<std::size_t>(threads * kItemsPerThread) * plan->shapes_.size();
  plan->counters_ = std::make_unique<std::atomic<std::int32_t>[]>(counters);
  KINGLET_TRY(plan->partials_, AlignedMemory::allocate(kPartialFloats * sizeof(float), Pages::kSmall));
  KINGLET_TRY(plan->scratch_, AlignedMemory::allocate(AttentionScratch::bytes(plan->layout_, compacts) *
                                                      static_cast<std::size_t>(threads)));
  return plan;
}

void AttentionPlan::take_from_keys(int layer, std::vector<float> bias) {
  if (!rotates_keys(layer) && cap_ == 0) taken_[static_cast<std::size_t>(layer)] = std::move(bias);
}

std::uint64_t AttentionPlan::bytes() const { return scratch_.size() + partials_.size(); }

Result<void> AttentionPlan::prepare(std::span<const Row> rows, bool tree, int layer_begin, int layer_end) {
  layer_begin_ = layer_begin;
  layer_end_ = layer_end;
  KINGLET_CHECK(group_rows(rows, tree));
  KINGLET_CHECK(check_layers());
  for (const SequenceRows& sequence : sequences_)
    KINGLET_CHECK(sequence.cache->reserve(
        layer_begin, layer_end,
        std::span(positions_)
            .subspan(static_cast<std::size_t>(sequence.first), static_cast<std::size_t>(sequence.count))));
  place_rows();
  find_runs();
  find_shapes();
  std::int32_t counters = 0;
  for (int i = 0; i < shape_count_; ++i) {
    std::int64_t partials = 0;  // layers follow one another, so all may use the same memory
    make_items(shapes_[static_cast<std::size_t>(i)], counters, partials);
  }
  for (std::int32_t i = 0; i < counters; ++i) counters_[static_cast<std::size_t>(i)] = 0;
  return {};
}

void AttentionPlan::commit() {
  for (const SequenceRows& sequence : sequences_) sequence.cache->commit(layer_begin_, layer_end_);
}

bool AttentionPlan::is_plain(const SequenceRows& sequence, int layer) const {
  const std::int64_t slots = sequence.cache->slots(layer);
  return sequence.in_order && sequence.cache->positions(layer).identity() >= slots &&
         positions_[static_cast<std::size_t>(sequence.first)] == slots;
}

bool AttentionPlan::same_shape(int layer, int other) const {
  if (sizes(layer) != sizes(other)) return false;
  return std::ranges::all_of(sequences_, [&](const SequenceRows& sequence) {
    return sequence.cache->slots(layer) == sequence.cache->slots(other) &&
           sequence.cache->first_slot(layer) == sequence.cache->first_slot(other) &&
           sequence.cache->ascends(layer) == sequence.cache->ascends(other) &&
           is_plain(sequence, layer) == is_plain(sequence, other);
  });
}

/// Rows of layers under a policy stand where their slots are, and the tables for their keys reach as far.
void AttentionPlan::place_rows() {
  slot_positions_.clear();
  int layer = layer_begin_;
  while (layer < layer_end_ && !rotates_keys(layer)) ++layer;
  if (layer >= layer_end_) return;
  slot_positions_.resize(order_.size());
  std::int64_t most = 0;
  for (const SequenceRows& sequence : sequences_) {
    const std::int64_t base = sequence.cache->slots(layer);
    most = std::max(most, base + sequence.count);
    for (std::int32_t i = sequence.first; i < sequence.first + sequence.count; ++i) {
      const RowPlace& place = order_[static_cast<std::size_t>(i)];
      slot_positions_[static_cast<std::size_t>(place.row)] = static_cast<std::int32_t>(base + place.depth);
    }
  }
  if (rotation_) rotation_->reach(most);
}

/// Fills shape_of_ and the layers of shapes_.
void AttentionPlan::find_shapes() {
  shape_count_ = 0;
  for (int layer = layer_begin_; layer < layer_end_; ++layer) {
    int shape = 0;
    while (shape < shape_count_ && !same_shape(layer, shapes_[static_cast<std::size_t>(shape)].layer)) ++shape;
    if (shape == shape_count_) shapes_[static_cast<std::size_t>(shape_count_++)].layer = layer;
    shape_of_[static_cast<std::size_t>(layer)] = shape;
  }
}

Result<void> AttentionPlan::check_layers() const {
  for (const SequenceRows& sequence : sequences_)
    for (int layer = layer_begin_; layer < layer_end_; ++layer) {
      const SequenceCache& cache = *sequence.cache;
      if (cache.seen(layer) != cache.seen(layer_begin_))
        return fail(ErrorCode::kInvalidArgument, "the layers of a call have seen different numbers of positions",
                    "Feed the missing rows to the layers that are behind first, or truncate the sequence.");
      if (cache.is_compacted(layer) != rotates_keys(layer))
        return fail(ErrorCode::kInternal, "the cache and the attention disagree about who rotates keys");
      if (cache.first_slot(layer) == 0 || is_plain(sequence, layer)) continue;
      for (std::int32_t i = sequence.first; i < sequence.first + sequence.count; ++i)
        if (positions_[static_cast<std::size_t>(i)] - sizes(layer).window + 1 < cache.first_slot(layer))
          return fail(ErrorCode::kUnsupported,
                      "layer " + std::to_string(layer) + " has forgotten what a row at position " +
                          std::to_string(positions_[static_cast<std::size_t>(i)]) + " would see");
    }
  return {};
}

/// Fills sequences_, order_, place_ and positions_.
Result<void> AttentionPlan::group_rows(std::span<const Row> rows, bool tree) {
  sequences_.clear();
  order_.resize(rows.size());
  place_.resize(rows.size());
  positions_.resize(rows.size());
  std::size_t at = 0;  // the sequence of the row before: neighbours mostly share it
  for (std::size_t i = 0; i < rows.size(); ++i) {
    if (at >= sequences_.size() || sequences_[at].cache != rows[i].sequence) {
      at = 0;
      while (at < sequences_.size() && sequences_[at].cache != rows[i].sequence) ++at;
    }
    if (at == sequences_.size()) {
      auto* cache = dynamic_cast<SequenceCache*>(rows[i].sequence);
      if (cache == nullptr) return fail(ErrorCode::kInvalidArgument, "a row has no sequence of this engine");
      sequences_.push_back({.cache = cache});
    }
    place_[i] = static_cast<std::int32_t>(at);
    ++sequences_[at].count;
  }
  std::int32_t first = 0;
  for (SequenceRows& sequence : sequences_) {
    sequence.first = first;
    first += sequence.count;
    sequence.count = 0;
  }
  for (std::size_t i = 0; i < rows.size(); ++i) {
    SequenceRows& sequence = sequences_[static_cast<std::size_t>(place_[i])];
    const std::int32_t place = sequence.first + sequence.count;
    order_[static_cast<std::size_t>(place)] = {.row = static_cast<std::int32_t>(i), .depth = sequence.count++};
    positions_[static_cast<std::size_t>(place)] = rows[i].position;
    place_[i] = place;
  }
  paths_.clear();
  if (tree)
    for (SequenceRows& sequence : sequences_) KINGLET_CHECK(find_paths(rows, sequence));
  for (SequenceRows& sequence : sequences_)
    for (std::int32_t i = sequence.first; i < sequence.first + sequence.count; ++i)
      sequence.in_order &=
          positions_[static_cast<std::size_t>(i)] ==
          positions_[static_cast<std::size_t>(sequence.first)] + order_[static_cast<std::size_t>(i)].depth;
  return {};
}

/// Depths and paths of a tree's rows. A chain stays what it is: its rows need no gathering.
Result<void> AttentionPlan::find_paths(std::span<const Row> rows, SequenceRows& sequence) {
  for (std::int32_t i = 0; i < sequence.count; ++i) {
    RowPlace& own = order_[static_cast<std::size_t>(sequence.first + i)];
    const std::int32_t parent = rows[static_cast<std::size_t>(own.row)].parent;
    if (parent >= own.row || parent < -1 ||
        (parent >= 0 &&
         rows[static_cast<std::size_t>(parent)].sequence != rows[static_cast<std::size_t>(own.row)].sequence))
      return fail(ErrorCode::kInvalidArgument, "row " + std::to_string(own.row) + " continues row " +
                                                   std::to_string(parent) +
                                                   ", which is no earlier row of its sequence");
    const std::int32_t place = parent < 0 ? -1 : place_[static_cast<std::size_t>(parent)];
    sequence.tree |= place != (i == 0 ? -1 : sequence.first + i - 1);
    own.ancestors = static_cast<std::int32_t>(paths_.size());
    own.depth = 0;
    if (place >= 0) {
      const RowPlace& above = order_[static_cast<std::size_t>(place)];
      own.depth = above.depth + 1;
      for (std::int32_t depth = 0; depth <= above.depth; ++depth)
        paths_.push_back(paths_[static_cast<std::size_t>(above.ancestors + depth)]);
    }
    paths_.push_back(i);
  }
  return {};
}

std::int64_t AttentionPlan::token_tiles(std::int32_t tokens) const {
  std::int64_t tiles = 0;
  for (const SequenceRows& sequence : sequences_) tiles += ceil_div(sequence.count, tokens);
  return tiles;
}

/// Fewer than `most` where the threads would share a few tiles unevenly, which have a chunk each: those of more chunks
/// are split by chunks, so that no key is read twice.
std::int32_t AttentionPlan::tokens_of_a_tile(int layer, std::int32_t most, std::int64_t tiles_a_token) const {
  constexpr int kTilesPerThread = 2;
  std::int32_t tokens = 1;
  for (const SequenceRows& sequence : sequences_) {
    if (sequence.cache->slots(layer) + sequence.count > kKvChunk) return most;
    tokens = std::max(tokens, std::min(sequence.count, most));
  }
  while (tokens > 1 && tiles_a_token * token_tiles(tokens) < threads_ * kTilesPerThread) tokens = (tokens + 1) / 2;
  return tokens;
}

void AttentionPlan::make_items(Shape& shape, std::int32_t& counters, std::int64_t& partials) {
  shape.items.clear();
  const std::int64_t kv_heads = sizes(shape.layer).kv_heads, per_kv = sizes(shape.layer).heads / kv_heads;
  const auto heads = static_cast<std::int32_t>(std::min<std::int64_t>(per_kv, kQueryRows));
  const std::int64_t a_token = kv_heads * ceil_div(per_kv, heads);
  const std::int32_t tokens = tokens_of_a_tile(shape.layer, std::max(1, kQueryRows / heads), a_token);
  const std::int64_t tiles = a_token * token_tiles(tokens);
  const std::int64_t wanted = std::int64_t{threads_} * kItemsPerThread;
  const std::int64_t most = tiles >= wanted ? 1 : ceil_div(wanted, std::max<std::int64_t>(tiles, 1));
  for (std::size_t s = 0; s < sequences_.size(); ++s)
    for (std::int32_t first = 0; first < sequences_[s].count; first += tokens)
      for (std::int32_t kv_head = 0; kv_head < kv_heads; ++kv_head)
        for (std::int32_t head = 0; head < per_kv; head += heads) {
          Item item{.sequence = static_cast<std::int32_t>(s),
                    .first = first,
                    .tokens = std::min(tokens, sequences_[s].count - first),
                    .kv_head = kv_head,
                    .head = static_cast<std::int32_t>(kv_head * per_kv) + head,
                    .heads = std::min<std::int32_t>(heads, static_cast<std::int32_t>(per_kv) - head)};
          add_splits(shape, item, most, counters, partials);
        }
}

/// A tile as one item, or as several over parts of its chunks.
void AttentionPlan::add_splits(Shape& shape, Item item, std::int64_t most, std::int32_t& counters,
                               std::int64_t& partials) {
  const AttentionTile tile = make_tile(shape.layer, item);
  const std::int64_t chunks = tile.chunk_end - tile.chunk_begin;
  const std::int64_t floats = chunks * tile.partial_floats();
  item.splits = static_cast<std::int32_t>(std::min(most, chunks));
  if (partials + floats > kPartialFloats) item.splits = 1;
  if (item.splits > 1) {
    item.counter = counters++;
    item.partial = partials;
    partials += floats;
  }
  for (item.split = 0; item.split < item.splits; ++item.split) shape.items.push_back(item);
}

void AttentionPlan::find_runs() {
  runs_.clear();
  for (std::int32_t s = 0; s < std::ssize(sequences_); ++s) {
    const SequenceRows& sequence = sequences_[static_cast<std::size_t>(s)];
    const std::int32_t end = sequence.first + sequence.count;
    for (std::int32_t begin = sequence.first; begin < end; begin += kStoreRows)
      runs_.push_back({.sequence = s, .begin = begin, .end = std::min(begin + kStoreRows, end)});
  }
}

int AttentionPlan::store_items(int layer) const { return static_cast<int>(std::ssize(runs_) * sizes(layer).kv_heads); }

void AttentionPlan::store(int layer, int item, const float* k, const float* v) const {
  const std::int64_t kv_heads = sizes(layer).kv_heads;
  const StoreRun& run = runs_[static_cast<std::size_t>(item / kv_heads)];
  const SequenceRows& sequence = sequences_[static_cast<std::size_t>(run.sequence)];
  const AttentionKernels& kernels = kinglet::attention();
  const auto storage = static_cast<std::size_t>(layout_.storage);
  const int kv_head = static_cast<int>(item % kv_heads);
  float mixed[kMostMixed];
  const auto mixed_of = [&](const float* x, int n, const std::vector<float>* taken) {
    if (!layout_.mixed()) return x;
    std::copy_n(x, n, mixed);
    if (taken != nullptr && !taken->empty())
      for (int d = 0; d < n; ++d) mixed[d] -= (*taken)[static_cast<std::size_t>(kv_head * n + d)];
    mix(mixed, n);
    return static_cast<const float*>(mixed);
  };
  for (std::int32_t place = run.begin; place < run.end; ++place) {
    const std::int64_t slot = sequence.cache->slots(layer) + place - sequence.first;
    const std::int64_t at = order_[static_cast<std::size_t>(place)].row * kv_heads + kv_head;
    const int lane = static_cast<int>(slot % kKvGroup);
    kernels.store_key[storage](
        mixed_of(k + at * layout_.key_length, layout_.key_length, &taken_[static_cast<std::size_t>(layer)]),
        layout_.key_length, sequence.cache->key_group(layer, kv_head, slot / kKvGroup), lane);
    kernels.store_value[storage](mixed_of(v + at * layout_.value_length, layout_.value_length, nullptr),
                                 layout_.value_length, sequence.cache->value_group(layer, kv_head, slot / kKvGroup),
                                 lane);
  }
}

int AttentionPlan::attend_items(int layer) const { return static_cast<int>(shape(layer).items.size()); }

AttentionTile AttentionPlan::make_tile(int layer, const Item& item) const {
  const SequenceRows& sequence = sequences_[static_cast<std::size_t>(item.sequence)];
  const std::int64_t window = sizes(layer).window;
  AttentionTile tile{.layout = layout_, .cap = cap_};
  tile.cache = sequence.cache;
  tile.layer = layer;
  tile.kv_head = item.kv_head;
  tile.tokens = item.tokens;
  tile.heads = item.heads;
  tile.base = sequence.cache->slots(layer);
  tile.tree = sequence.tree;
  if (rotation_ && rotates_keys(layer)) tile.rotation = rotation_->of(layer);
  tile.least = std::numeric_limits<std::int64_t>::max();
  for (std::int32_t t = 0; t < item.tokens; ++t) {
    const RowPlace& place = order_[static_cast<std::size_t>(sequence.first + item.first + t)];
    const std::int64_t slot = tile.base + place.depth;
    const std::size_t i = static_cast<std::size_t>(t);
    tile.row[i] = place.row;
    tile.path[i] = sequence.tree ? paths_.data() + place.ancestors : nullptr;
    tile.last[i] = causal_ ? slot : tile.base + sequence.count - 1;
    tile.first[i] = causal_ && window > 0 ? std::max<std::int64_t>(slot - window + 1, 0) : 0;
    tile.least = std::min(tile.least, tile.first[i]);
    tile.most = std::max(tile.most, tile.last[i]);
  }
  if (causal_ && !is_plain(sequence, layer)) look_up(sequence, item, tile);
  tile.chunk_begin = tile.least / kKvChunk;
  tile.chunk_end = tile.most / kKvChunk + 1;
  return tile;
}

/// A tile whose slots do not hold their own numbers: ascending positions still make a range, others are hidden one by
/// one. Which chunks the tile has depends on the numbers of slots alone, so that layers may share its item.
void AttentionPlan::look_up(const SequenceRows& sequence, const Item& item, AttentionTile& tile) const {
  const std::int64_t window = sizes(tile.layer).window, first_slot = sequence.cache->first_slot(tile.layer);
  const PositionMap& positions = sequence.cache->positions(tile.layer);
  const bool ascends = !sequence.tree && sequence.cache->ascends(tile.layer);
  if (!ascends) tile.positions = &positions;
  tile.window = window;
  tile.least = first_slot;
  if (!ascends) tile.most = tile.base + sequence.count - 1;
  for (std::int32_t t = 0; t < item.tokens; ++t) {
    const std::size_t i = static_cast<std::size_t>(t);
    const std::int64_t position = positions_[static_cast<std::size_t>(sequence.first + item.first + t)];
    tile.position[i] = position;
    tile.slot[i] = tile.base + (sequence.tree ? order_[static_cast<std::size_t>(sequence.first + item.first + t)].depth
                                              : item.first + t);
    tile.first[i] = ascends && window > 0 ? positions.first_from(position - window + 1) : 0;
    tile.first[i] = std::max(tile.first[i], first_slot);
    if (!ascends && !sequence.tree) tile.last[i] = tile.most;
  }
}

void AttentionPlan::attend(int layer, int index, int thread, const float* q, float* o) const {
  const LayerSizes& kind = sizes(layer);
  const Item& item = shape(layer).items[static_cast<std::size_t>(index)];
  const AttentionTile tile = make_tile(layer, item);
  const AttentionScratch scratch(
      layout_, scratch_.data() + AttentionScratch::bytes(layout_, compacts_) * static_cast<std::size_t>(thread));
  const std::int64_t q_row = kind.heads * layout_.key_length, o_row = kind.heads * layout_.value_length;
  const float* queries = q + std::int64_t{item.head} * layout_.key_length;
  float* results = o + std::int64_t{item.head} * layout_.value_length;
  tile.stage(queries, q_row, scale_, scratch);
  if (item.splits == 1) {
    tile.start(scratch);
    for (std::int64_t chunk = tile.chunk_begin; chunk < tile.chunk_end; ++chunk) {
      tile.run(chunk, chunk + 1 < tile.chunk_end, scratch.chunk, scratch);
      tile.merge(scratch.chunk, scratch);
    }
    tile.finish(results, o_row, scratch);
    return;
  }
  float* partials = reinterpret_cast<float*>(partials_.data()) + item.partial;
  const WorkShare share = work_share(tile.chunk_end - tile.chunk_begin, item.split, item.splits);
  for (std::int64_t i = share.begin; i < share.end; ++i)
    tile.run(tile.chunk_begin + i, i + 1 < share.end, partials + i * tile.partial_floats(), scratch);
  // The splits before this one have written their chunks; the last one merges them all, in ascending order.
  auto& counter = counters_[static_cast<std::size_t>(item.counter)];
  if ((counter.fetch_add(1, std::memory_order_acq_rel) + 1) % item.splits != 0) return;
  tile.start(scratch);
  for (std::int64_t i = 0; i < tile.chunk_end - tile.chunk_begin; ++i)
    tile.merge(partials + i * tile.partial_floats(), scratch);
  tile.finish(results, o_row, scratch);
}

void AttentionPlan::fetch(int layer, int thread) const {
  const WorkShare share = work_share(attend_items(layer), thread, threads_);
  std::size_t fetched = 0;
  for (std::int64_t i = share.begin; i < share.end && fetched < kFetchedBytes; ++i)
    fetched += fetch_item(layer, static_cast<int>(i));
}

std::size_t AttentionPlan::fetch_item(int layer, int index) const {
  const Item& item = shape(layer).items[static_cast<std::size_t>(index)];
  const AttentionTile tile = make_tile(layer, item);
  return tile.fetch(tile.chunk_begin + work_share(tile.chunk_end - tile.chunk_begin, item.split, item.splits).begin);
}

std::vector<float> AttentionPlan::weights(int layer, int row, int head, const float* q) const {
  const LayerSizes& kind = sizes(layer);
  const std::int32_t place = place_[static_cast<std::size_t>(row)];
  std::size_t s = 0;
  while (place >= sequences_[s].first + sequences_[s].count) ++s;
  const std::int64_t per_kv = kind.heads / kind.kv_heads;
  const Item item{.sequence = static_cast<std::int32_t>(s),
                  .first = place - sequences_[s].first,
                  .tokens = 1,
                  .kv_head = static_cast<std::int32_t>(head / per_kv),
                  .head = head,
                  .heads = 1};
  const AttentionTile tile = make_tile(layer, item);
  const AttentionScratch scratch(layout_, scratch_.data());
  tile.stage(q + std::int64_t{head} * layout_.key_length, kind.heads * layout_.key_length, scale_, scratch);
  std::vector<float> weights(static_cast<std::size_t>(tile.chunk_end * kKvChunk), 0.0f);
  tile.start(scratch);
  std::vector<float> maxima;
  for (std::int64_t chunk = tile.chunk_begin; chunk < tile.chunk_end; ++chunk) {
    std::fill_n(scratch.scores, kKvChunk, 0.0f);  // run() leaves alone the groups that nobody sees
    tile.run(chunk, false, scratch.chunk, scratch);
    std::memcpy(weights.data() + chunk * kKvChunk, scratch.scores, kKvChunk * sizeof(float));
    maxima.push_back(scratch.chunk[tile.layout.value_stride()]);
    tile.merge(scratch.chunk, scratch);
  }
  for (std::int64_t i = tile.chunk_begin * kKvChunk; i < tile.chunk_end * kKvChunk; ++i) {
    const float shift = maxima[static_cast<std::size_t>(i / kKvChunk - tile.chunk_begin)] - scratch.maxima[0];
    weights[static_cast<std::size_t>(i)] *= std::exp(shift) / scratch.sums[0];
  }
  weights.resize(static_cast<std::size_t>(tile.most + 1));
  return weights;
}

}  // namespace kinglet
