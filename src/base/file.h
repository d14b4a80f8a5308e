// The one place that talks to the file system.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "kinglet/result.h"

namespace kinglet {

/// A whole regular file, read-only. Mapped; a file that shrinks while it is mapped is answered by zero pages or an error
/// that names it, never by a signal (R11). Folders, FIFOs and devices are refused.
class MappedFile {
 public:
  static Result<std::shared_ptr<const MappedFile>> open(const std::string& path);
  ~MappedFile();
  std::span<const std::byte> bytes() const { return bytes_; }
  const std::string& path() const { return path_; }
  /// Tells the kernel that this part will not be read again soon.
  void release(std::size_t offset, std::size_t size) const;

 private:
  MappedFile() = default;
  std::span<const std::byte> bytes_;
  std::string path_;
};

/// Reads a small file whole; kExhausted above `max_bytes`. "-" is standard input.
Result<std::string> read_file(const std::string& path, std::uint64_t max_bytes);

/// A file that appears whole under its name or not at all: temporary name in the same folder, fsync, rename, fsync of
/// the folder. Destroyed without commit(), it removes the temporary. A full disk is kExhausted with the bytes needed.
class AtomicFile {
 public:
  static Result<std::unique_ptr<AtomicFile>> create(const std::string& path);
  ~AtomicFile();
  Result<void> write(std::span<const std::byte> bytes);
  Result<void> write(std::string_view text);
  Result<void> commit();

 private:
  AtomicFile() = default;
  std::string path_, temporary_;
  int file_ = -1;
  std::uint64_t written_ = 0;
};

Result<void> make_folders(const std::string& path);  ///< like mkdir -p
bool file_exists(const std::string& path);
bool folder_exists(const std::string& path);

}  // namespace kinglet
