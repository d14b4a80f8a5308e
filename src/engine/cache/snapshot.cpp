// A sequence as bytes. Little-endian:
//   "KGLTSEQ\n", u32 version, u32 storage, u32 key length, u32 value length, u64 size and bytes of the fingerprint,
//   u32 layers; for each layer u32 KV heads, u32 0, i64 window, i64 slots, i64 first page, i64 positions seen,
//   i64 the policy's cursor, i64 positions seen when it last dropped slots,
//   i64 number and i32 positions of the last slots: those from the first on whose position is not its number;
//   then for each layer, page and KV head the groups of keys, and the groups of values, that hold a kept slot (lanes
//   behind the last one are zero);
//   SHA-256 of all before it.
// Equal sequences give equal bytes.
#include <array>
#include <cstring>
#include <limits>

#include "base/reader.h"
#include "base/sha256.h"
#include "base/try.h"
#include "engine/cache/sequence_cache.h"

namespace kinglet {
namespace {

constexpr std::string_view kMagic = "KGLTSEQ\n";
constexpr std::uint32_t kVersion = 2;
constexpr std::int64_t kMostPositions = std::numeric_limits<std::int32_t>::max();
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
    for (std::size_t i = 0; i < cache_.layers_.size(); ++i) write_sizes(static_cast<int>(i));
    for (std::size_t i = 0; i < cache_.layers_.size(); ++i) write_layer(static_cast<int>(i));
    const auto digest = sha256(out_).bytes();
    out_.append(reinterpret_cast<const char*>(digest.data()), digest.size());
    return std::move(out_);
  }

 private:
  void write_sizes(int layer) {
    const auto& own = cache_.at(layer);
    put(out_, static_cast<std::uint32_t>(cache_.heads(layer)));
    put(out_, std::uint32_t{0});
    put(out_, cache_.window(layer));
    put(out_, own.length);
    put(out_, own.first_page);
    put(out_, own.seen);
    put(out_, own.cursor);
    put(out_, own.compacted);
    PositionMap kept = own.positions;
    kept.cut(own.length);
    put(out_, static_cast<std::int64_t>(kept.tail().size()));
    for (const std::int32_t position : kept.tail()) put(out_, position);
  }

  void write_layer(int layer) {
    const std::int64_t length = cache_.slots(layer), first = cache_.at(layer).first_page;
    for (std::int64_t page = first; page * kKvChunk < length; ++page)
      for (int head = 0; head < cache_.heads(layer); ++head) {
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
    for (int layer = 0; layer < static_cast<int>(cache_.layers_.size()); ++layer) {
      KINGLET_TRY(const std::uint64_t bytes, read_sizes(layer));
      KINGLET_TRY(wanted, checked_add(wanted, bytes, "the snapshot's size"));
    }
    if (wanted != reader_.remaining())
      return fail(ErrorCode::kCorrupt,
                  "the snapshot holds " + std::to_string(reader_.remaining()) +
                      " bytes of keys and values, its lengths ask for " + std::to_string(wanted),
                  std::string(kAgain), reader_.place());
    return {};
  }

  /// One layer's head. The bytes of its keys and values.
  Result<std::uint64_t> read_sizes(int layer) {
    SequenceCache::LayerCache& own = cache_.at(layer);
    const std::int64_t window = cache_.window(layer);
    KINGLET_CHECK(expect(reader_, static_cast<std::uint32_t>(cache_.heads(layer)), "number of KV heads"));
    KINGLET_CHECK(expect(reader_, std::uint32_t{0}, "reserved field"));
    KINGLET_CHECK(expect(reader_, window, "window"));
    const std::int64_t most = cache_.config_->context > 0 ? cache_.config_->context : kMostPositions;
    KINGLET_TRY(const auto length, reader_.number<std::int64_t>("length"));
    KINGLET_TRY(const std::int64_t slots, length.between(0, most, "the snapshot's length"));
    KINGLET_TRY(const auto page, reader_.number<std::int64_t>("first page"));
    KINGLET_TRY(const auto positions, reader_.number<std::int64_t>("positions seen"));
    KINGLET_TRY(own.seen, positions.between(0, kMostPositions, "the snapshot's number of positions"));
    KINGLET_TRY(const auto cursor, reader_.number<std::int64_t>("cursor"));
    KINGLET_TRY(own.cursor, cursor.between(0, cache_.is_compacted(layer) ? slots : 0, "the snapshot's cursor"));
    KINGLET_TRY(const auto compacted, reader_.number<std::int64_t>("positions before the last drop"));
    KINGLET_TRY(own.compacted, compacted.between(0, cache_.is_compacted(layer) ? own.seen : 0,
                                                 "the snapshot's positions before the last drop"));
    KINGLET_CHECK(read_positions(layer, slots));
    // A page is forgotten only where no coming row can see it.
    const std::int64_t seen = std::min(own.seen, own.positions.identity());
    const std::int64_t unseen = window > 0 ? std::max<std::int64_t>(seen - window + 1, 0) : 0;
    KINGLET_TRY(own.first_page, page.between(0, unseen / kKvChunk, "the snapshot's first page"));
    const std::int64_t groups = (slots + kKvGroup - 1) / kKvGroup - own.first_page * kKvGroups;
    return checked_multiply(
        static_cast<std::uint64_t>(std::max<std::int64_t>(groups, 0)) * static_cast<std::uint64_t>(cache_.heads(layer)),
        layout_.key_group_bytes() + layout_.value_group_bytes(), "the snapshot's size");
  }

  /// The slots' positions: each below those seen, in the one form that equal maps have.
  Result<void> read_positions(int layer, std::int64_t slots) {
    SequenceCache::LayerCache& own = cache_.at(layer);
    KINGLET_TRY(const auto count, reader_.number<std::int64_t>("number of listed positions"));
    KINGLET_TRY(const std::int64_t listed, count.between(0, slots, "the snapshot's number of listed positions"));
    if (static_cast<std::uint64_t>(listed) > reader_.remaining() / sizeof(std::int32_t))
      return fail(ErrorCode::kCorrupt,
                  "the snapshot lists " + std::to_string(listed) + " positions and has " +
                      std::to_string(reader_.remaining()) + " bytes left",
                  std::string(kAgain), reader_.place());
    std::vector<std::int32_t> tail;
    tail.reserve(static_cast<std::size_t>(listed));
    for (std::int64_t i = 0; i < listed; ++i) {
      KINGLET_TRY(const auto number, reader_.number<std::int32_t>("position"));
      KINGLET_TRY(const std::int32_t position,
                  number.between(0, static_cast<std::int32_t>(own.seen) - 1, "a position of the snapshot"));
      tail.push_back(position);
    }
    own.positions = PositionMap(slots - listed, std::move(tail));
    if (own.positions.identity() == slots - listed && slots - listed <= own.seen) return {};
    return fail(ErrorCode::kCorrupt, "the snapshot's positions do not fit its length", std::string(kAgain),
                reader_.place());
  }

  Result<void> read_layer(int layer) {
    SequenceCache::LayerCache& own = cache_.at(layer);
    const std::int64_t length = own.positions.slots();
    KINGLET_CHECK(cache_.claim_slots(layer, own.first_page * kKvChunk, length));
    own.length = length;
    for (std::int64_t page = own.first_page; page * kKvChunk < length; ++page)
      for (int head = 0; head < cache_.heads(layer); ++head) {
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
};

Result<std::string> SequenceCache::snapshot() const {
  for (const WaitingRows& stage : waiting)
    if (!stage.positions.empty())
      return fail(ErrorCode::kUnsupported, "a sequence whose prompt left tokens behind has no snapshot",
                  "Leave --lazy-prefill away.");
  return SnapshotWriter(*this).write();
}

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
  waiting.clear();
  return {};
}

}  // namespace kinglet
