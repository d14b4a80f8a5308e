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
    default:
      return KvStorage::kF16;
  }
}

CacheConfig cache_config(const ModelConfig& model, std::int64_t context, std::string fingerprint) {
  CacheConfig config{.layers = {}, .context = context, .fingerprint = std::move(fingerprint)};
  for (const LayerConfig& layer : model.per_layer)
    config.layers.push_back({.kv_heads = static_cast<int>(layer.kv_heads), .window = layer.sliding_window});
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
  std::int64_t shortest = layers_.empty() ? 0 : layers_[0].length;
  for (const LayerCache& layer : layers_) shortest = std::min(shortest, layer.length);
  return shortest;
}

std::uint64_t SequenceCache::bytes() const {
  std::uint64_t pages = 0;
  for (const LayerCache& layer : layers_) pages += layer.pages.size();
  return pages * store_->page_bytes();
}

Result<void> SequenceCache::reserve(int begin, int end, std::int64_t rows) {
  for (int layer = begin; layer < end; ++layer) {
    const std::int64_t wanted = length(layer) + rows;
    if (config_->context > 0 && wanted > config_->context)
      return fail(ErrorCode::kExhausted,
                  "the sequence would have " + std::to_string(wanted) + " positions, the context has " +
                      std::to_string(config_->context),
                  "Give a larger --context, or a shorter text.");
  }
  for (int layer = begin; layer < end; ++layer)
    KINGLET_CHECK(reserve_layer(layer, length(layer), length(layer) + rows));
  return {};
}

/// Own pages for the slots [begin, end) of a layer.
Result<void> SequenceCache::reserve_layer(int layer, std::int64_t begin, std::int64_t end) {
  LayerCache& cache = layers_[static_cast<std::size_t>(layer)];
  const std::int64_t heads = config_->layers[static_cast<std::size_t>(layer)].kv_heads;
  cache.written = std::max(cache.length, end);
  if (begin >= end) return {};
  const std::int64_t first = begin / kKvChunk - cache.first_page, last = (end - 1) / kKvChunk - cache.first_page;
  // Shared pages that will be written: those of a fork, or of a sequence that was cut back into them.
  for (std::int64_t i = first * heads; i < std::min<std::int64_t>((last + 1) * heads, std::ssize(cache.pages)); ++i)
    KINGLET_CHECK(make_own(cache.pages[static_cast<std::size_t>(i)]));
  const std::int64_t had = std::ssize(cache.pages) / heads;
  if (last < had) return {};
  cache.pages.resize(static_cast<std::size_t>((last + 1) * heads));
  // Head by head: pages that are read one after another lie so in memory.
  for (std::int64_t head = 0; head < heads; ++head)
    for (std::int64_t page = had; page <= last; ++page) {
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
  KINGLET_TRY(const KvPage copy, store_->claim());
  std::memcpy(copy.data, page.data, store_->page_bytes());
  store_->release(page);
  page = copy;
  return {};
}

void SequenceCache::commit(int begin, int end, std::int64_t rows) {
  for (int layer = begin; layer < end; ++layer) {
    LayerCache& cache = layers_[static_cast<std::size_t>(layer)];
    cache.length = std::min(cache.length + rows, cache.written);
    forget_unseen(layer);
  }
}

void SequenceCache::forget_unseen(int layer) {
  const CacheConfig::Layer& config = config_->layers[static_cast<std::size_t>(layer)];
  LayerCache& cache = layers_[static_cast<std::size_t>(layer)];
  if (config.window <= 0) return;
  const std::int64_t needed = cache.length - kRollback - config.window + 1;  // the first slot that may still be seen
  const std::int64_t keep = std::max<std::int64_t>(needed, 0) / kKvChunk;
  const std::int64_t drop = keep - cache.first_page;
  if (drop <= 0) return;
  const auto end = cache.pages.begin() + drop * config.kv_heads;
  for (auto page = cache.pages.begin(); page != end; ++page) store_->release(*page);
  cache.pages.erase(cache.pages.begin(), end);
  cache.first_page = keep;
}

/// Gives back the pages that hold no slot below `length`.
void SequenceCache::drop_after(int layer, std::int64_t length) {
  LayerCache& cache = layers_[static_cast<std::size_t>(layer)];
  const std::int64_t heads = config_->layers[static_cast<std::size_t>(layer)].kv_heads;
  const std::int64_t keep = std::max<std::int64_t>((length + kKvChunk - 1) / kKvChunk - cache.first_page, 0) * heads;
  while (std::ssize(cache.pages) > keep) {
    store_->release(cache.pages.back());
    cache.pages.pop_back();
  }
  cache.length = std::min(cache.length, length);
  cache.written = cache.length;
}

Result<void> SequenceCache::truncate(std::int64_t wanted) {
  if (wanted < 0 || wanted > length())
    return fail(ErrorCode::kInvalidArgument,
                "cannot cut a sequence of " + std::to_string(length()) + " positions to " + std::to_string(wanted));
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    const std::int64_t window = config_->layers[i].window;
    if (window <= 0 || wanted == 0 || wanted == layers_[i].length) continue;
    const std::int64_t needed = std::max<std::int64_t>(wanted - window + 1, 0);
    if (needed / kKvChunk < layers_[i].first_page)
      return fail(ErrorCode::kUnsupported,
                  "layer " + std::to_string(i) + " has a window of " + std::to_string(window) +
                      " positions and has forgotten what a sequence of " + std::to_string(wanted) + " would need",
                  "Start the sequence again, or fork it before it grows.");
  }
  for (int layer = 0; layer < static_cast<int>(layers_.size()); ++layer) {
    drop_after(layer, wanted);
    LayerCache& cache = layers_[static_cast<std::size_t>(layer)];
    if (wanted == 0) cache.first_page = 0;
  }
  return {};
}

Result<std::unique_ptr<Sequence>> SequenceCache::fork() const {
  auto copy = std::make_unique<SequenceCache>(store_, config_);
  copy->layers_ = layers_;
  for (const LayerCache& layer : layers_)
    for (const KvPage& page : layer.pages) store_->retain(page);
  // What was reserved and not committed is the original's alone.
  for (int layer = 0; layer < static_cast<int>(layers_.size()); ++layer) copy->drop_after(layer, length(layer));
  return copy;
}

Result<void> SequenceCache::keep_path(std::int64_t base, std::span<const std::int32_t> offsets) {
  const std::int64_t kept = base + std::ssize(offsets);
  for (std::size_t i = 0; i < layers_.size(); ++i)
    if (base < 0 || base > layers_[i].written || (!offsets.empty() && base + offsets.back() >= layers_[i].written))
      return fail(ErrorCode::kInvalidArgument, "keep_path names slots that the last call did not write");
  for (std::size_t i = 0; i < offsets.size(); ++i)
    if (offsets[i] < static_cast<std::int32_t>(i) || (i > 0 && offsets[i] <= offsets[i - 1]))
      return fail(ErrorCode::kInvalidArgument, "the offsets of keep_path must ascend");
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    const std::int64_t window = config_->layers[i].window;
    if (window > 0 && std::max<std::int64_t>(kept - window + 1, 0) / kKvChunk < layers_[i].first_page)
      return fail(ErrorCode::kUnsupported, "layer " + std::to_string(i) + " has forgotten what the kept path would see",
                  "Draft fewer than " + std::to_string(kRollback) + " tokens at once, or do not commit the call.");
  }
  const KvLayout& layout = store_->layout();
  for (int layer = 0; layer < static_cast<int>(layers_.size()); ++layer) {
    LayerCache& cache = layers_[static_cast<std::size_t>(layer)];
    const int heads = config_->layers[static_cast<std::size_t>(layer)].kv_heads;
    // Committed slots may have been shared by a fork since.
    if (!offsets.empty()) KINGLET_CHECK(reserve_layer(layer, base, cache.written));
    for (std::size_t i = 0; i < offsets.size(); ++i) {
      const std::int64_t from = base + offsets[i], to = base + static_cast<std::int64_t>(i);
      if (from == to) continue;
      for (int head = 0; head < heads; ++head) {
        copy_key(layout, key_group(layer, head, from / kKvGroup), static_cast<int>(from % kKvGroup),
                 key_group(layer, head, to / kKvGroup), static_cast<int>(to % kKvGroup));
        copy_value(layout, value_group(layer, head, from / kKvGroup), static_cast<int>(from % kKvGroup),
                   value_group(layer, head, to / kKvGroup), static_cast<int>(to % kKvGroup));
      }
    }
    cache.length = kept;
    drop_after(layer, kept);
    forget_unseen(layer);
  }
  return {};
}

}  // namespace kinglet
