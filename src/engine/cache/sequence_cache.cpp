#include "engine/cache/sequence_cache.h"

#include <algorithm>
#include <cstring>
#include <new>

#include "base/try.h"

namespace kinglet {

KvStorage kv_storage(CacheType type) {
  switch (type) {
    case CacheType::kF32:
      return KvStorage::kF32;
    case CacheType::kBf16:
      return KvStorage::kBf16;
    case CacheType::kInt8:
      return KvStorage::kInt8;
    case CacheType::kInt4:
      return KvStorage::kInt4;
    default:
      return KvStorage::kF16;
  }
}

CacheConfig cache_config(const ModelConfig& model, std::int64_t context, std::string fingerprint,
                         std::shared_ptr<const CachePolicy> policy) {
  CacheConfig config{
      .layers = {}, .context = context, .fingerprint = std::move(fingerprint), .policy = std::move(policy)};
  int under_policy = 0;
  for (const LayerConfig& layer : model.per_layer)
    config.layers.push_back({.kv_heads = static_cast<int>(layer.kv_heads),
                             .window = layer.sliding_window,
                             .policy_layer = config.policy && layer.sliding_window <= 0 ? under_policy++ : -1});
  return config;
}

SequenceCache::SequenceCache(std::shared_ptr<PagedStore> store, std::shared_ptr<const CacheConfig> config)
    : store_(std::move(store)), config_(std::move(config)), layers_(config_->layers.size()) {}

SequenceCache::~SequenceCache() { clear(); }

void SequenceCache::clear() {
  for (LayerCache& layer : layers_) {
    for (const KvPage& page : layer.pages)
      if (page.data != nullptr) store_->release(page);
    layer = {};
  }
}

std::int64_t SequenceCache::length() const {
  std::int64_t shortest = layers_.empty() ? 0 : layers_[0].seen;
  for (const LayerCache& layer : layers_) shortest = std::min(shortest, layer.seen);
  return shortest;
}

std::uint64_t SequenceCache::bytes() const {
  std::uint64_t pages = 0;
  for (const LayerCache& layer : layers_) pages += layer.pages.size();
  std::uint64_t rows = 0;
  for (const WaitingRows& stage : waiting) rows += stage.hidden.size() * sizeof(float);
  return pages * store_->page_bytes() + rows;
}

Result<void> SequenceCache::check_positions(int begin, int end, std::span<const std::int32_t> positions) const {
  if (config_->context <= 0) return {};
  for (int layer = begin; layer < end; ++layer) {
    // A tree has more slots than positions; a policy has fewer.
    std::int64_t wanted = slots(layer) + std::ssize(positions);
    if (is_compacted(layer))
      wanted = std::max<std::int64_t>(seen(layer), std::ranges::max(positions) + std::int64_t{1});
    if (wanted > config_->context)
      return fail(ErrorCode::kExhausted,
                  "the sequence would have " + std::to_string(wanted) + " positions, the context has " +
                      std::to_string(config_->context),
                  "Give a larger --context, or a shorter text.");
  }
  return {};
}

/// Lets the policy drop slots of a layer that holds more than its capacity.
Result<void> SequenceCache::compact(int layer) {
  LayerCache& cache = at(layer);
  if (!is_compacted(layer) || cache.length <= config_->policy->capacity()) return {};
  kept_.clear();
  std::int64_t cursor = cache.cursor;
  const int number = config_->layers[static_cast<std::size_t>(layer)].policy_layer;
  const std::int64_t begin = config_->policy->choose(number, cache.length, cursor, kept_);
  KINGLET_CHECK(keep_slots(layer, begin, kept_));
  cache.cursor = cursor;
  cache.compacted = cache.seen;
  return {};
}

Result<void> SequenceCache::reserve(int begin, int end, std::span<const std::int32_t> positions) {
  const std::int64_t rows = std::ssize(positions);
  if (rows == 0) return {};
  KINGLET_CHECK(check_positions(begin, end, positions));
  for (int layer = begin; layer < end; ++layer) KINGLET_CHECK(compact(layer));
  for (int layer = begin; layer < end; ++layer) {
    LayerCache& cache = at(layer);
    KINGLET_CHECK(claim_slots(layer, cache.length, cache.length + rows));
    cache.positions.cut(cache.length);  // what the last call reserved and nobody committed
    cache.positions.append(positions);
    cache.ascends = cache.positions.ascends();
  }
  return {};
}

/// Own pages for the slots [begin, end) of a layer, which will be written.
Result<void> SequenceCache::claim_slots(int layer, std::int64_t begin, std::int64_t end) {
  if (begin >= end) return {};
  LayerCache& cache = at(layer);
  const std::int64_t heads = this->heads(layer);
  const std::int64_t first = begin / kKvChunk - cache.first_page, last = (end - 1) / kKvChunk - cache.first_page;
  // Shared pages: those of a fork, or of a sequence that was cut back into them.
  for (std::int64_t i = first * heads; i < std::min<std::int64_t>((last + 1) * heads, std::ssize(cache.pages)); ++i)
    KINGLET_CHECK(make_own(cache.pages[static_cast<std::size_t>(i)]));
  KINGLET_CHECK(add_pages(layer, last + 1));
  for (std::int64_t i = first * heads; i < (last + 1) * heads; ++i) {
    KvPage& page = cache.pages[static_cast<std::size_t>(i)];
    const std::int64_t slots = std::min<std::int64_t>(end - (cache.first_page + i / heads) * kKvChunk, kKvChunk);
    page.written = std::max(page.written, static_cast<std::int32_t>((slots + kKvGroup - 1) / kKvGroup));
  }
  return {};
}

/// New pages up to `count` a head.
Result<void> SequenceCache::add_pages(int layer, std::int64_t count) {
  LayerCache& cache = at(layer);
  const std::int64_t heads = this->heads(layer), had = std::ssize(cache.pages) / heads;
  if (count <= had) return {};
  cache.pages.resize(static_cast<std::size_t>(count * heads));
  // Head by head: pages that are read one after another lie so in memory.
  for (std::int64_t head = 0; head < heads; ++head)
    for (std::int64_t page = had; page < count; ++page) {
      auto claimed = store_->claim();
      if (!claimed) {
        for (std::int64_t i = had * heads; i < std::ssize(cache.pages); ++i)
          if (const KvPage& made = cache.pages[static_cast<std::size_t>(i)]; made.data != nullptr)
            store_->release(made);
        cache.pages.resize(static_cast<std::size_t>(had * heads));
        return tl::unexpected(std::move(claimed).error());
      }
      cache.pages[static_cast<std::size_t>(page * heads + head)] = *claimed;
    }
  return {};
}

Result<void> SequenceCache::make_own(KvPage& page) {
  if (!store_->is_shared(page)) return {};
  KINGLET_TRY(KvPage copy, store_->claim());
  copy.written = page.written;
  const KvLayout& layout = store_->layout();
  const auto groups = static_cast<std::size_t>(page.written);
  std::memcpy(store_->key_group(copy, 0), store_->key_group(page, 0), groups * layout.key_group_bytes());
  std::memcpy(store_->value_group(copy, 0), store_->value_group(page, 0), groups * layout.value_group_bytes());
  store_->release(page);
  page = copy;
  return {};
}

void SequenceCache::commit(int begin, int end) {
  for (int layer = begin; layer < end; ++layer) {
    LayerCache& cache = at(layer);
    for (std::int64_t slot = std::max(cache.length, cache.positions.identity()); slot < cache.positions.slots(); ++slot)
      cache.seen = std::max(cache.seen, cache.positions[slot] + 1);
    cache.length = cache.positions.slots();
    cache.seen = std::max(cache.seen, cache.positions.identity());
    forget_unseen(layer);
  }
}

void SequenceCache::forget_unseen(int layer) {
  LayerCache& cache = at(layer);
  if (window(layer) <= 0) return;
  // The first position that may still be seen; slots behind the identity may hold any.
  const std::int64_t needed = std::min(cache.seen - kRollback - window(layer) + 1, cache.positions.identity());
  const std::int64_t keep = std::max<std::int64_t>(needed, 0) / kKvChunk;
  const std::int64_t drop = keep - cache.first_page;
  if (drop <= 0) return;
  const auto end = cache.pages.begin() + drop * heads(layer);
  for (auto page = cache.pages.begin(); page != end; ++page) store_->release(*page);
  cache.pages.erase(cache.pages.begin(), end);
  cache.first_page = keep;
}

/// Forgets the slots >= `slots` and gives back the pages that hold no other.
void SequenceCache::drop_after(int layer, std::int64_t slots) {
  LayerCache& cache = at(layer);
  const std::int64_t keep =
      std::max<std::int64_t>((slots + kKvChunk - 1) / kKvChunk - cache.first_page, 0) * heads(layer);
  while (std::ssize(cache.pages) > keep) {
    store_->release(cache.pages.back());
    cache.pages.pop_back();
  }
  cache.length = std::min(cache.length, slots);
  cache.positions.cut(cache.length);
  if (slots == 0) cache.first_page = cache.cursor = cache.compacted = 0;
}

/// One slot, or a whole group of them.
void SequenceCache::move_slots(int layer, int head, std::int64_t from, std::int64_t to, bool whole) {
  const KvLayout& layout = store_->layout();
  const std::byte *key = key_group(layer, head, from / kKvGroup), *value = value_group(layer, head, from / kKvGroup);
  std::byte *new_key = key_group(layer, head, to / kKvGroup), *new_value = value_group(layer, head, to / kKvGroup);
  if (whole) {
    std::memcpy(new_key, key, layout.key_group_bytes());
    std::memcpy(new_value, value, layout.value_group_bytes());
    return;
  }
  copy_key(layout, key, static_cast<int>(from % kKvGroup), new_key, static_cast<int>(to % kKvGroup));
  copy_value(layout, value, static_cast<int>(from % kKvGroup), new_value, static_cast<int>(to % kKvGroup));
}

/// Slot begin + i takes what slots[i] (ascending, >= begin) holds; what was behind is forgotten. Only an error of the
/// store can stop it, and then nothing has moved.
Result<void> SequenceCache::keep_slots(int layer, std::int64_t begin, std::span<const std::int64_t> slots) {
  LayerCache& cache = at(layer);
  // Committed slots may be shared with a fork.
  if (!slots.empty()) KINGLET_CHECK(claim_slots(layer, begin, begin + std::ssize(slots)));
  for (std::int64_t i = 0; i < std::ssize(slots);) {
    const std::int64_t from = slots[static_cast<std::size_t>(i)], to = begin + i;
    // A whole group that stands whole in its new place: ascending slots are neighbours if the last one says so.
    const bool whole = from % kKvGroup == 0 && to % kKvGroup == 0 && i + kKvGroup <= std::ssize(slots) &&
                       slots[static_cast<std::size_t>(i + kKvGroup - 1)] == from + kKvGroup - 1;
    if (from != to)
      for (int head = 0; head < heads(layer); ++head) move_slots(layer, head, from, to, whole);
    i += whole ? kKvGroup : 1;
  }
  cache.positions.keep(begin, slots);
  cache.length = begin + std::ssize(slots);
  drop_after(layer, cache.length);
  return {};
}

/// What a policy dropped does not come back.
Result<void> SequenceCache::check_rollback(std::int64_t wanted) const {
  for (int layer = 0; layer < static_cast<int>(layers_.size()); ++layer)
    if (wanted < at(layer).compacted)
      return fail(ErrorCode::kUnsupported,
                  "the cache policy has dropped positions of layer " + std::to_string(layer) + " that a sequence of " +
                      std::to_string(wanted) + " would need",
                  "Start the sequence again, or fork it before it grows.");
  return {};
}

Result<void> SequenceCache::truncate(std::int64_t wanted) {
  if (wanted < 0 || wanted > length())
    return fail(ErrorCode::kInvalidArgument,
                "cannot cut a sequence of " + std::to_string(length()) + " positions to " + std::to_string(wanted));
  if (wanted > 0) KINGLET_CHECK(check_rollback(wanted));
  for (int layer = 0; layer < static_cast<int>(layers_.size()); ++layer) {
    if (window(layer) <= 0 || wanted == 0 || wanted == seen(layer)) continue;
    const std::int64_t needed = std::max<std::int64_t>(wanted - window(layer) + 1, 0);
    if (needed / kKvChunk < at(layer).first_page)
      return fail(ErrorCode::kUnsupported,
                  "layer " + std::to_string(layer) + " has a window of " + std::to_string(window(layer)) +
                      " positions and has forgotten what a sequence of " + std::to_string(wanted) + " would need",
                  "Start the sequence again, or fork it before it grows.");
  }
  for (int layer = 0; layer < static_cast<int>(layers_.size()); ++layer) {
    LayerCache& cache = at(layer);
    cache.positions.cut(cache.length);
    if (wanted <= cache.positions.identity() && cache.positions.tail().empty()) {
      drop_after(layer, wanted);
    } else {
      const std::int64_t begin = std::min(wanted, cache.positions.identity());
      std::vector<std::int64_t> kept;
      for (std::int64_t slot = begin; slot < cache.length; ++slot)
        if (cache.positions[slot] < wanted) kept.push_back(slot);
      KINGLET_CHECK(keep_slots(layer, begin, kept));
    }
    cache.seen = wanted;
  }
  for (WaitingRows& stage : waiting) {
    const std::size_t width = stage.positions.empty() ? 0 : stage.hidden.size() / stage.positions.size();
    std::size_t kept = 0;
    for (std::size_t i = 0; i < stage.positions.size(); ++i) {
      if (stage.positions[i] >= wanted) continue;
      stage.positions[kept] = stage.positions[i];
      std::copy_n(stage.hidden.data() + i * width, width, stage.hidden.data() + kept++ * width);
    }
    stage.positions.resize(kept);
    stage.hidden.resize(kept * width);
  }
  return {};
}

Result<std::unique_ptr<Sequence>> SequenceCache::fork() const {
  auto copy = std::make_unique<SequenceCache>(store_, config_);
  copy->layers_ = layers_;
  copy->waiting = waiting;
  for (const LayerCache& layer : layers_)
    for (const KvPage& page : layer.pages) store_->retain(page);
  // What was reserved and not committed is the original's alone.
  for (int layer = 0; layer < static_cast<int>(layers_.size()); ++layer) copy->drop_after(layer, slots(layer));
  return copy;
}

/// The first slot of the rows that were fed from position `base` on.
std::int64_t SequenceCache::slot_of(int layer, std::int64_t base) const {
  const PositionMap& positions = at(layer).positions;
  if (base <= positions.identity()) return base;
  std::int64_t slot = positions.slots();
  while (slot > positions.identity() && positions[slot - 1] >= base) --slot;
  return slot;
}

Result<void> SequenceCache::keep_path(std::int64_t base, std::span<const std::int32_t> offsets) {
  const std::int64_t kept = base + std::ssize(offsets);
  for (std::size_t i = 0; i < offsets.size(); ++i)
    if (offsets[i] < static_cast<std::int32_t>(i) || (i > 0 && offsets[i] <= offsets[i - 1]))
      return fail(ErrorCode::kInvalidArgument, "the offsets of keep_path must ascend");
  if (base >= 0) KINGLET_CHECK(check_rollback(base));
  for (int layer = 0; layer < static_cast<int>(layers_.size()); ++layer) {
    const std::int64_t written = positions(layer).slots(), begin = slot_of(layer, base);
    if (base < 0 || base > std::max(written, seen(layer)) || (!offsets.empty() && begin + offsets.back() >= written))
      return fail(ErrorCode::kInvalidArgument, "keep_path names slots that the last call did not write");
    for (std::size_t i = 0; i < offsets.size(); ++i)
      if (positions(layer)[begin + offsets[i]] != base + static_cast<std::int64_t>(i))
        return fail(ErrorCode::kInvalidArgument, "keep_path names slots that are no path: slot " +
                                                     std::to_string(begin + offsets[i]) + " holds position " +
                                                     std::to_string(positions(layer)[begin + offsets[i]]));
    if (window(layer) > 0 && std::max<std::int64_t>(kept - window(layer) + 1, 0) / kKvChunk < at(layer).first_page)
      return fail(ErrorCode::kUnsupported,
                  "layer " + std::to_string(layer) + " has forgotten what the kept path would see",
                  "Draft fewer than " + std::to_string(kRollback) + " tokens at once, or do not commit the call.");
  }
  for (int layer = 0; layer < static_cast<int>(layers_.size()); ++layer) {
    const std::int64_t begin = slot_of(layer, base);
    kept_.clear();
    for (const std::int32_t offset : offsets) kept_.push_back(begin + offset);
    KINGLET_CHECK(keep_slots(layer, begin, kept_));
    at(layer).seen = kept;
    forget_unseen(layer);
  }
  return {};
}

}  // namespace kinglet
