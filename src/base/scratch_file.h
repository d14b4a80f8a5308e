// A file without a name for data that does not fit in memory: gone with the process, and kept out of the page cache.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "base/file_descriptor.h"
#include "kinglet/result.h"

namespace kinglet {

class ScratchFile {
 public:
  /// Offsets and sizes of read() are multiples of this.
  static constexpr std::size_t kBlock = 4096;

  /// In $TMPDIR, or /var/tmp (on disk, where /tmp may be memory). kExhausted where the disk has no room for `bytes`.
  static Result<std::unique_ptr<ScratchFile>> create(std::uint64_t bytes);
  /// From several threads, before seal().
  Result<void> write(std::uint64_t offset, std::span<const std::byte> bytes);
  /// Nothing more is written: what was written goes to the disk, and out of the page cache.
  Result<void> seal();
  /// After seal(). `to` begins at a multiple of kBlock. Reads past the page cache where the file system allows it, and
  /// otherwise drops what it read from it.
  Result<void> read(std::uint64_t offset, std::span<std::byte> to) const;
  bool direct() const { return direct_.get() >= 0; }

 private:
  ScratchFile() = default;
  Descriptor file_, direct_;
  std::string folder_;
};

}  // namespace kinglet
