// A sequence as bytes. Little-endian:
//   "KGLTSEQ\n", u32 version, u32 storage, u32 key length, u32 value length, u64 size and bytes of the fingerprint,
//   u32 layers; for each layer u32 KV heads, u32 0, i64 window, i64 length, i64 first page;
//   then for each layer, page and KV head the groups of keys, and the groups of values, that hold a kept slot (lanes
//   behind the last one are zero);
//   SHA-256 of all before it.
// Equal sequences give equal bytes.
#include <array>
#include <cstring>

#include "base/reader.h"
#include "base/sha256.h"
#include "base/try.h"
#include "engine/cache/sequence_cache.h"

namespace kinglet {
namespace {

constexpr std::string_view kMagic = "KGLTSEQ\n";
constexpr std::uint32_t kVersion = 1;
constexpr std::string_view kAgain = "Feed the text again instead of restoring it.";

template <typename T>
void put(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

template <typename T>
Result<void> expect(Reader& reader, T wanted, std::string_view what) {
  const std::string place = reader.place();
  KINGLET_TRY(const auto found, reader.number<T>(what));
  if (found == wanted) return {};
  return fail(ErrorCode::kUnsupported,
              "the snapshot's " + std::string(what) + " is " + std::to_string(found.as_data()) + ", this model has " +
                  std::to_string(wanted),
              std::string(kAgain), place);
}

/// Groups of a page that hold a slot below `length`.
int kept_groups(std::int64_t page, std::int64_t length) {
  const std::int64_t slots = std::min<std::int64_t>(length - page * kKvChunk, kKvChunk);
  return static_cast<int>((slots + kKvGroup - 1) / kKvGroup);
}

}  // namespace

/// Walks the groups of a sequence in the order of the file; needs the private parts of SequenceCache.
class SnapshotWriter {
 public:
  explicit SnapshotWriter(const SequenceCache& cache) : cache_(cache), layout_(cache.store_->layout()) {}

  std::string write() {
    out_.append(kMagic);
    put(out_, kVersion);
    put(out_, static_cast<std::uint32_t>(layout_.storage));
    put(out_, static_cast<std::uint32_t>(layout_.key_length));
    put(out_, static_cast<std::uint32_t>(layout_.value_length));
    put(out_, static_cast<std::uint64_t>(cache_.config_->fingerprint.size()));
    out_.append(cache_.config_->fingerprint);
    put(out_, static_cast<std::uint32_t>(cache_.layers_.size()));
    for (std::size_t i = 0; i < cache_.layers_.size(); ++i) {
      put(out_, static_cast<std::uint32_t>(cache_.config_->layers[i].kv_heads));
      put(out_, std::uint32_t{0});
      put(out_, cache_.config_->layers[i].window);
      put(out_, cache_.layers_[i].length);
      put(out_, cache_.layers_[i].first_page);
    }
    for (std::size_t i = 0; i < cache_.layers_.size(); ++i) write_layer(static_cast<int>(i));
    const auto digest = sha256(out_).bytes();
    out_.append(reinterpret_cast<const char*>(digest.data()), digest.size());
    return std::move(out_);
  }

 private:
  void write_layer(int layer) {
    const std::int64_t length = cache_.length(layer),
                       first = cache_.layers_[static_cast<std::size_t>(layer)].first_page;
    for (std::int64_t page = first; page * kKvChunk < length; ++page)
      for (int head = 0; head < cache_.config_->layers[static_cast<std::size_t>(layer)].kv_heads; ++head) {
        const std::int64_t begin = page * kKvGroups, end = begin + kept_groups(page, length);
        for (std::int64_t group = begin; group < end; ++group)
          append(cache_.key_group(layer, head, group), layout_.key_group_bytes(), length - group * kKvGroup, copy_key);
        for (std::int64_t group = begin; group < end; ++group)
          append(cache_.value_group(layer, head, group), layout_.value_group_bytes(), length - group * kKvGroup,
                 copy_value);
      }
  }

  void append(const std::byte* group, std::size_t bytes, std::int64_t lanes,
              void (*copy)(const KvLayout&, const std::byte*, int, std::byte*, int)) {
    const std::size_t at = out_.size();
    if (lanes >= kKvGroup) {
      out_.append(reinterpret_cast<const char*>(group), bytes);
      return;
    }
    lanes_.assign(bytes, std::byte{0});
    for (int lane = 0; lane < static_cast<int>(lanes); ++lane) copy(layout_, group, lane, lanes_.data(), lane);
    out_.resize(at + bytes);
    std::memcpy(out_.data() + at, lanes_.data(), bytes);
  }

  const SequenceCache& cache_;
  const KvLayout& layout_;
  std::string out_;
  std::vector<std::byte> lanes_;
};

class SnapshotReader {
 public:
  SnapshotReader(SequenceCache& cache, std::span<const std::byte> bytes)
      : cache_(cache), layout_(cache.store_->layout()), reader_(bytes, "snapshot") {}

  Result<void> read() {
    KINGLET_CHECK(read_identity());
    KINGLET_CHECK(read_lengths());
    for (std::size_t i = 0; i < cache_.layers_.size(); ++i) KINGLET_CHECK(read_layer(static_cast<int>(i)));
    return {};
  }

 private:
  Result<void> read_identity() {
    KINGLET_TRY(const auto magic, reader_.bytes(kMagic.size(), "the snapshot's mark"));
    if (std::memcmp(magic.data(), kMagic.data(), kMagic.size()) != 0)
      return fail(ErrorCode::kCorrupt, "these bytes are no snapshot of a sequence", std::string(kAgain),
                  "snapshot, byte 0");
    KINGLET_CHECK(expect(reader_, kVersion, "version"));
    KINGLET_CHECK(expect(reader_, static_cast<std::uint32_t>(layout_.storage), "cache type"));
    KINGLET_CHECK(expect(reader_, static_cast<std::uint32_t>(layout_.key_length), "key length"));
    KINGLET_CHECK(expect(reader_, static_cast<std::uint32_t>(layout_.value_length), "value length"));
    KINGLET_TRY(const auto fingerprint, reader_.string(reader_.remaining(), "fingerprint"));
    if (fingerprint != cache_.config_->fingerprint)
      return fail(ErrorCode::kUnsupported, "the snapshot was taken with another model", std::string(kAgain),
                  reader_.place());
    return {};
  }

  /// Sizes against each other, against this model, and against the bytes that follow, before any page is claimed.
  Result<void> read_lengths() {
    KINGLET_CHECK(expect(reader_, static_cast<std::uint32_t>(cache_.layers_.size()), "number of layers"));
    std::uint64_t wanted = 0;
    for (std::size_t i = 0; i < cache_.layers_.size(); ++i) {
      const CacheConfig::Layer& config = cache_.config_->layers[i];
      KINGLET_CHECK(expect(reader_, static_cast<std::uint32_t>(config.kv_heads), "number of KV heads"));
      KINGLET_CHECK(expect(reader_, std::uint32_t{0}, "reserved field"));
      KINGLET_CHECK(expect(reader_, config.window, "window"));
      const std::int64_t most = cache_.config_->context > 0 ? cache_.config_->context : std::int64_t{kKvChunk} << 32;
      KINGLET_TRY(const auto length, reader_.number<std::int64_t>("length"));
      KINGLET_TRY(const std::int64_t slots, length.between(0, most, "the snapshot's length"));
      const std::int64_t unseen = config.window > 0 ? std::max<std::int64_t>(slots - config.window + 1, 0) : 0;
      KINGLET_TRY(const auto page, reader_.number<std::int64_t>("first page"));
      KINGLET_TRY(const std::int64_t first, page.between(0, unseen / kKvChunk, "the snapshot's first page"));
      lengths_.push_back(slots);
      cache_.layers_[i].first_page = first;
      const std::int64_t groups = (slots + kKvGroup - 1) / kKvGroup - first * kKvGroups;
      KINGLET_TRY(const std::uint64_t bytes,
                  checked_multiply(static_cast<std::uint64_t>(std::max<std::int64_t>(groups, 0)) *
                                       static_cast<std::uint64_t>(config.kv_heads),
                                   layout_.key_group_bytes() + layout_.value_group_bytes(), "the snapshot's size"));
      KINGLET_TRY(wanted, checked_add(wanted, bytes, "the snapshot's size"));
    }
    if (wanted != reader_.remaining())
      return fail(ErrorCode::kCorrupt,
                  "the snapshot holds " + std::to_string(reader_.remaining()) +
                      " bytes of keys and values, its lengths ask for " + std::to_string(wanted),
                  std::string(kAgain), reader_.place());
    return {};
  }

  Result<void> read_layer(int layer) {
    SequenceCache::LayerCache& own = cache_.layers_[static_cast<std::size_t>(layer)];
    const std::int64_t length = lengths_[static_cast<std::size_t>(layer)];
    KINGLET_CHECK(cache_.reserve_layer(layer, own.first_page * kKvChunk, length));
    own.length = length;
    own.written = length;
    for (std::int64_t page = own.first_page; page * kKvChunk < length; ++page)
      for (int head = 0; head < cache_.config_->layers[static_cast<std::size_t>(layer)].kv_heads; ++head) {
        const std::int64_t begin = page * kKvGroups, end = begin + kept_groups(page, length);
        const auto groups = static_cast<std::uint64_t>(end - begin);
        KINGLET_TRY(const auto keys, reader_.bytes(groups * layout_.key_group_bytes(), "keys"));
        KINGLET_TRY(const auto values, reader_.bytes(groups * layout_.value_group_bytes(), "values"));
        std::memcpy(cache_.key_group(layer, head, begin), keys.data(), keys.size());
        std::memcpy(cache_.value_group(layer, head, begin), values.data(), values.size());
      }
    return {};
  }

  SequenceCache& cache_;  ///< an empty one, thrown away on errors
  const KvLayout& layout_;
  Reader reader_;
  std::vector<std::int64_t> lengths_;
};

Result<std::string> SequenceCache::snapshot() const { return SnapshotWriter(*this).write(); }

Result<void> SequenceCache::restore(std::string_view bytes) {
  constexpr std::size_t kDigest = 32;
  if (bytes.size() < kMagic.size() + kDigest || bytes.substr(0, kMagic.size()) != kMagic)
    return fail(ErrorCode::kCorrupt, "these bytes are no snapshot of a sequence", std::string(kAgain));
  const std::string_view body = bytes.substr(0, bytes.size() - kDigest);
  const auto digest = sha256(body).bytes();
  if (std::memcmp(digest.data(), bytes.data() + body.size(), kDigest) != 0)
    return fail(ErrorCode::kCorrupt, "the snapshot's checksum does not match its bytes", std::string(kAgain));
  SequenceCache fresh(store_, config_);
  KINGLET_CHECK(SnapshotReader(fresh, std::as_bytes(std::span(body))).read());
  layers_.swap(fresh.layers_);
  return {};
}

}  // namespace kinglet
