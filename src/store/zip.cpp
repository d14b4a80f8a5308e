#include "store/zip.h"

#include <zlib.h>

#include <algorithm>
#include <set>

#include "base/try.h"
#include "store/layout.h"

namespace kinglet {

namespace {

constexpr std::size_t kEndBytes = 22, kCentralBytes = 46, kLocalBytes = 30;
constexpr std::size_t kMaxComment = 65535;
constexpr std::size_t kMaxEntries = 20'000;  // the wheels with most files (torch) have 13,000
constexpr std::size_t kPiece = 1 << 18;

std::uint32_t little(std::span<const std::byte> bytes, std::size_t at, int count) {
  std::uint32_t value = 0;
  for (int i = count - 1; i >= 0; --i) value = value << 8 | static_cast<std::uint8_t>(bytes[at + i]);
  return value;
}

bool has_signature(std::span<const std::byte> bytes, std::size_t at, std::uint32_t signature) {
  return at <= bytes.size() && bytes.size() - at >= 4 && little(bytes, at, 4) == signature;
}

std::string_view text_at(std::span<const std::byte> bytes, std::size_t at, std::size_t size) {
  return {reinterpret_cast<const char*>(bytes.data()) + at, size};
}

struct Inflater {
  z_stream stream = {};
  bool good = inflateInit2(&stream, -MAX_WBITS) == Z_OK;
  ~Inflater() {
    if (good) inflateEnd(&stream);
  }
};

}  // namespace

tl::unexpected<Error> ZipReader::broken(std::string_view what, std::string_view name) const {
  return fail(ErrorCode::kCorrupt, std::string(what), "",
              name.empty() ? place_ : place_ + ", entry " + std::string(name.substr(0, 200)));
}

Result<ZipReader> ZipReader::open(std::span<const std::byte> archive, std::string place) {
  ZipReader zip;
  zip.archive_ = archive;
  zip.place_ = std::move(place);
  // The end record stands before a comment whose length it tells: search from the end, and accept only an exact fit.
  const std::size_t lowest = archive.size() > kEndBytes + kMaxComment ? archive.size() - kEndBytes - kMaxComment : 0;
  std::size_t end = archive.size();
  for (std::size_t at = archive.size() < kEndBytes ? 0 : archive.size() - kEndBytes + 1; at-- > lowest;) {
    if (has_signature(archive, at, 0x06054b50) && at + kEndBytes + little(archive, at + 20, 2) == archive.size()) {
      end = at;
      break;
    }
  }
  if (end == archive.size()) return zip.broken("expected a zip archive, found no end record: is it cut short?");
  const std::uint32_t count = little(archive, end + 10, 2), size = little(archive, end + 12, 4),
                      offset = little(archive, end + 16, 4);
  if (little(archive, end + 4, 2) != 0 || little(archive, end + 6, 2) != 0 || little(archive, end + 8, 2) != count) {
    return fail(ErrorCode::kUnsupported, "a zip archive in several volumes", "", zip.place_);
  }
  if (count == 0xffff || size == 0xffffffff || offset == 0xffffffff) {
    return fail(ErrorCode::kUnsupported, "a zip64 archive", "", zip.place_);
  }
  if (count > kMaxEntries) return zip.broken(std::to_string(count) + " entries are more than any wheel has");
  if (offset > end || size != end - offset) return zip.broken("the directory does not end where the end record begins");
  zip.directory_ = offset;

  std::set<std::string, std::less<>> names;
  std::size_t at = offset;
  for (std::uint32_t i = 0; i < count; ++i) {
    if (end - at < kCentralBytes || !has_signature(archive, at, 0x02014b50)) return zip.broken("a broken directory");
    const std::uint32_t flags = little(archive, at + 8, 2), method = little(archive, at + 10, 2);
    const std::size_t name_size = little(archive, at + 28, 2);
    const std::size_t whole = kCentralBytes + name_size + little(archive, at + 30, 2) + little(archive, at + 32, 2);
    if (end - at < whole) return zip.broken("a directory entry past the directory's end");
    ZipEntry entry;
    entry.name = text_at(archive, at + kCentralBytes, name_size);
    entry.crc = little(archive, at + 16, 4);
    entry.packed = little(archive, at + 20, 4);
    entry.bytes = little(archive, at + 24, 4);
    entry.offset = little(archive, at + 42, 4);
    entry.deflated = method == 8;
    at += whole;
    if (entry.name.ends_with('/') && entry.bytes == 0 &&
        is_relative_path(std::string_view(entry.name).substr(0, name_size - 1))) {
      continue;
    }
    if (!is_relative_path(entry.name)) return zip.broken("a name that could leave its folder", entry.name);
    if (!names.insert(entry.name).second) return zip.broken("a name that stands twice", entry.name);
    if (flags & 1) return fail(ErrorCode::kUnsupported, "an encrypted entry", "", zip.place_ + ", entry " + entry.name);
    if (method != 0 && method != 8) {
      return fail(ErrorCode::kUnsupported, "compression method " + std::to_string(method), "",
                  zip.place_ + ", entry " + entry.name);
    }
    if (!entry.deflated && entry.packed != entry.bytes) return zip.broken("two sizes for stored data", entry.name);
    zip.entries_.push_back(std::move(entry));
  }
  if (at != end) return zip.broken("bytes between the directory and the end record");
  KINGLET_CHECK(zip.check_places());
  return zip;
}

// Each entry's data must lie before the directory and apart from every other's: overlapping entries are how a small
// archive unpacks to petabytes.
Result<void> ZipReader::check_places() const {
  std::vector<std::pair<std::uint64_t, std::uint64_t>> ranges;
  for (const ZipEntry& entry : entries_) {
    KINGLET_TRY(const auto data, packed_bytes(entry));
    ranges.emplace_back(entry.offset, static_cast<std::uint64_t>(data.data() - archive_.data()) + data.size());
  }
  std::sort(ranges.begin(), ranges.end());
  for (std::size_t i = 1; i < ranges.size(); ++i) {
    if (ranges[i].first < ranges[i - 1].second) return broken("entries that overlap");
  }
  return {};
}

Result<std::span<const std::byte>> ZipReader::packed_bytes(const ZipEntry& entry) const {
  const std::uint64_t at = entry.offset;
  if (at > directory_ || directory_ - at < kLocalBytes || !has_signature(archive_, at, 0x04034b50)) {
    return broken("no local header where the directory points", entry.name);
  }
  const std::uint64_t name_size = little(archive_, at + 26, 2);
  const std::uint64_t begin = at + kLocalBytes + name_size + little(archive_, at + 28, 2);
  if (begin > directory_ || directory_ - begin < entry.packed) return broken("data past its end", entry.name);
  if (text_at(archive_, at + kLocalBytes, name_size) != entry.name) {
    return broken("another name in the local header", entry.name);
  }
  return archive_.subspan(begin, entry.packed);
}

const ZipEntry* ZipReader::find(std::string_view name) const {
  const auto found = std::find_if(entries_.begin(), entries_.end(), [&](const auto& e) { return e.name == name; });
  return found == entries_.end() ? nullptr : &*found;
}

Result<void> ZipReader::read(const ZipEntry& entry, std::uint64_t max_bytes,
                             const std::function<Result<void>(std::span<const std::byte>)>& sink) const {
  if (entry.bytes > max_bytes) {
    return fail(
        ErrorCode::kExhausted,
        std::to_string(entry.bytes) + " bytes unpacked are above the " + std::to_string(max_bytes) + " expected", "",
        place_ + ", entry " + entry.name);
  }
  KINGLET_TRY(const auto packed, packed_bytes(entry));
  std::uint64_t done = 0;
  auto crc = static_cast<std::uint32_t>(crc32(0, nullptr, 0));
  const auto deliver = [&](std::span<const std::byte> piece) -> Result<void> {
    if (piece.size() > entry.bytes - done) return broken("more data than declared", entry.name);
    crc = static_cast<std::uint32_t>(
        crc32(crc, reinterpret_cast<const Bytef*>(piece.data()), static_cast<uInt>(piece.size())));
    done += piece.size();
    return sink(piece);
  };
  if (entry.deflated) {
    KINGLET_CHECK(inflate_entry(packed, entry, deliver));
  } else {
    for (std::size_t at = 0; at < packed.size(); at += kPiece) {
      KINGLET_CHECK(deliver(packed.subspan(at, std::min(kPiece, packed.size() - at))));
    }
  }
  if (done != entry.bytes) return broken("less data than declared", entry.name);
  if (crc != entry.crc) return broken("the CRC does not fit: the archive is damaged", entry.name);
  return {};
}

Result<void> ZipReader::inflate_entry(std::span<const std::byte> packed, const ZipEntry& entry,
                                      const Deliver& deliver) const {
  Inflater inflater;
  if (!inflater.good) return fail(ErrorCode::kExhausted, "not enough memory to unpack", "", place_);
  std::vector<std::byte> out(kPiece);
  z_stream& stream = inflater.stream;
  std::size_t fed = 0;
  for (int state = Z_OK; state != Z_STREAM_END;) {
    if (stream.avail_in == 0 && fed < packed.size()) {
      const std::size_t size = std::min(kPiece, packed.size() - fed);
      stream.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(packed.data() + fed));
      stream.avail_in = static_cast<uInt>(size);
      fed += size;
    }
    stream.next_out = reinterpret_cast<Bytef*>(out.data());
    stream.avail_out = static_cast<uInt>(out.size());
    state = inflate(&stream, Z_NO_FLUSH);
    if (state == Z_MEM_ERROR) return fail(ErrorCode::kExhausted, "not enough memory to unpack", "", place_);
    if (state != Z_OK && state != Z_STREAM_END) return broken("damaged or cut compressed data", entry.name);
    KINGLET_CHECK(deliver(std::span(out).first(out.size() - stream.avail_out)));
  }
  if (stream.avail_in != 0 || fed != packed.size()) return broken("data after the compressed stream's end", entry.name);
  return {};
}

}  // namespace kinglet
