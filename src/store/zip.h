// Reads zip archives (Python wheels) that nobody vouches for: the whole directory is checked before the first byte is
// unpacked, output is bounded by what the directory declares and the caller allows, and nothing is ever executed.
// Format: PKWARE APPNOTE 6.3, without encryption, spanning and zip64 (a wheel stays below 4 GiB).
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kinglet/result.h"

namespace kinglet {

struct ZipEntry {
  std::string name;          ///< a relative path that stays below its folder; folders themselves are left out
  std::uint64_t bytes = 0;   ///< unpacked
  std::uint64_t packed = 0;  ///< in the archive
  std::uint64_t offset = 0;  ///< of its local header
  std::uint32_t crc = 0;
  bool deflated = false;  ///< otherwise stored
};

/// Views the archive's bytes, which must outlive it. Immutable.
class ZipReader {
 public:
  /// `place` names the archive in errors. kCorrupt or kUnsupported with the entry's name.
  static Result<ZipReader> open(std::span<const std::byte> archive, std::string place);

  const std::vector<ZipEntry>& entries() const { return entries_; }
  const ZipEntry* find(std::string_view name) const;

  /// Unpacks one entry piece by piece; an error of `sink` ends it. kExhausted above `max_bytes`; kCorrupt where the
  /// data, its length or its CRC are not as declared (pieces were handed out by then).
  Result<void> read(const ZipEntry& entry, std::uint64_t max_bytes,
                    const std::function<Result<void>(std::span<const std::byte>)>& sink) const;

 private:
  using Deliver = std::function<Result<void>(std::span<const std::byte>)>;
  ZipReader() = default;
  Result<void> check_places() const;
  Result<void> inflate_entry(std::span<const std::byte> packed, const ZipEntry& entry, const Deliver& deliver) const;
  Result<std::span<const std::byte>> packed_bytes(const ZipEntry& entry) const;
  tl::unexpected<Error> broken(std::string_view what, std::string_view name = {}) const;

  std::span<const std::byte> archive_;
  std::string place_;
  std::vector<ZipEntry> entries_;
  std::uint64_t directory_ = 0;  ///< offset of the central directory: entries end before it
};

}  // namespace kinglet
