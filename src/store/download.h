// One file from a URL into partial/, going on where an earlier attempt was cut.
#pragma once

#include <optional>
#include <string>

#include "base/sha256.h"
#include "kinglet/store.h"

namespace kinglet {

struct DownloadRequest {
  std::string url;
  std::string token;             ///< for the URL's own origin
  std::optional<Digest> digest;  ///< what it must be; absent: what the server says (X-Linked-Etag), or whatever comes
  std::optional<std::uint64_t> bytes;
  bool probing = false;  ///< another source is there: give up after seconds where nothing comes at all
};

struct FetchedFile {
  std::string path;  ///< in partial/: to be moved by the caller
  Digest digest;
  std::uint64_t bytes = 0;
  std::uint64_t transferred = 0;  ///< by this call
};

/// `progress` gets (bytes of this file done, its size or 0). A size or checksum that is not the expected one leaves
/// nothing behind; a cut connection or an interruption leaves the part, which the next call goes on from.
Result<FetchedFile> download(const DownloadRequest& request,
                             const std::function<void(std::uint64_t, std::uint64_t)>& progress);

/// A file that grows in partial/ under its checksum's name, hashed as it grows.
class PartialFile {
 public:
  static std::string path_of(std::string_view key);
  /// Goes on after the first `keep` bytes of what is there (hashing them).
  static Result<PartialFile> open(std::string_view key, std::uint64_t keep);
  PartialFile(PartialFile&&) noexcept;
  PartialFile& operator=(PartialFile&&) noexcept;
  ~PartialFile();

  Result<void> write(std::span<const std::byte> bytes);
  std::uint64_t bytes() const { return bytes_; }
  const std::string& path() const { return path_; }
  /// Closes it, read-only. Where the checksum is not `expected`, removes it: kCorrupt.
  Result<Digest> finish(const std::optional<Digest>& expected, const std::string& place);

 private:
  PartialFile() = default;
  std::string path_;
  std::unique_ptr<class AppendFile> file_;
  Sha256 hash_;
  std::uint64_t bytes_ = 0;
};

}  // namespace kinglet
