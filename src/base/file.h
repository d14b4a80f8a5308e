// The one place that talks to the file system.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kinglet/result.h"

namespace kinglet {

/// A whole regular file, read-only. Mapped; a file that shrinks while it is mapped is answered by zero pages or an
/// error that names it, never by a signal (R11). Folders, FIFOs and devices are refused.
class MappedFile {
 public:
  static Result<std::shared_ptr<const MappedFile>> open(const std::string& path);
  ~MappedFile();
  std::span<const std::byte> bytes() const { return bytes_; }
  const std::string& path() const { return path_; }
  /// Tells the kernel that this part will not be read again soon.
  void release(std::size_t offset, std::size_t size) const;
  /// kIo once a page of the mapping could not be read (the file shrank, or the disk failed) and zeros stood in for it.
  Result<void> check() const;

 private:
  MappedFile() = default;
  std::span<const std::byte> bytes_;
  std::string path_;
  int slot_ = -1;  ///< in the table that the signal handler reads
};

/// A regular file that is read front to back. Folders, FIFOs and devices are refused.
class RegularFile {
 public:
  static Result<RegularFile> open(const std::string& path);
  RegularFile(RegularFile&& other) noexcept;
  RegularFile& operator=(RegularFile&& other) noexcept;
  ~RegularFile();
  std::uint64_t size() const { return size_; }  ///< when it was opened
  /// Fills `out` as far as the file reaches; 0 at its end.
  Result<std::size_t> read(std::span<std::byte> out);
  /// Reads exactly out.size() bytes at `offset`, or kCorrupt.
  Result<void> read_at(std::uint64_t offset, std::span<std::byte> out) const;

 private:
  RegularFile() = default;
  int file_ = -1;
  std::uint64_t size_ = 0;
  std::string path_;
};

/// Reads a small file whole; kExhausted above `max_bytes`. "-" is standard input.
Result<std::string> read_file(const std::string& path, std::uint64_t max_bytes);

/// A file that appears whole under its name or not at all: written without a name (O_TMPFILE), fsync, named, fsync of
/// the folder. So nothing is left of it without commit(), even when the process is killed. File systems without
/// nameless files get a temporary name in the same folder instead, locked while its writer lives: what a killed process
/// left under such a name is removed by the next one that writes to `path`. A full disk is kExhausted with the bytes
/// needed.
class AtomicFile {
 public:
  /// `nameless` false takes a temporary name from the start, as on file systems that have nothing else.
  static Result<std::unique_ptr<AtomicFile>> create(const std::string& path, bool nameless = true);
  ~AtomicFile();
  Result<void> write(std::span<const std::byte> bytes);
  Result<void> write(std::string_view text);
  Result<void> commit();

 private:
  AtomicFile() = default;
  Result<void> take_name();
  std::string path_, temporary_;
  int file_ = -1;
  std::uint64_t written_ = 0;
};

/// A folder that takes its name only when everything is in it. Destroyed without commit(), it is removed; what a killed
/// process left is removed by the next one that writes to the same path.
class AtomicFolder {
 public:
  /// kInvalidArgument where `path` is there already and not an empty folder.
  static Result<AtomicFolder> create(std::string path);
  AtomicFolder(AtomicFolder&& other) noexcept;
  ~AtomicFolder();
  const std::string& path() const { return temporary_; }  ///< where to write
  Result<void> commit();

 private:
  AtomicFolder() = default;
  std::string path_, temporary_;
  int lock_ = -1;
};

/// A file that grows at its end and keeps its bytes when the process dies: what a resumed download goes on from.
class AppendFile {
 public:
  /// Creates the file where it is absent; cuts it to `keep` bytes (kCorrupt if it has fewer).
  static Result<std::unique_ptr<AppendFile>> open(const std::string& path, std::uint64_t keep);
  ~AppendFile();
  Result<void> write(std::span<const std::byte> bytes);
  /// To the disk, and closed.
  Result<void> close();

 private:
  AppendFile() = default;
  std::string path_;
  int file_ = -1;
  std::uint64_t size_ = 0;
};

/// Held by one process at a time and freed by its death.
class FileLock {
 public:
  /// Creates the file where it is absent. `waiting` (may be null) is called once when another process holds the lock,
  /// and then every 0.1 s: false gives up with kCancelled.
  static Result<std::unique_ptr<FileLock>> acquire(const std::string& path, bool (*waiting)() = nullptr);
  ~FileLock();

 private:
  FileLock() = default;
  std::string path_;
  int file_ = -1;
};

/// Ok for a regular file or a folder that this user may read. kNotFound; kUnsupported for a pipe, socket or device, and
/// for what its permissions keep from this user. Opens nothing, so nothing blocks.
Result<void> check_file_or_folder(const std::string& path);
Result<void> make_folders(const std::string& path);  ///< like mkdir -p
bool file_exists(const std::string& path);           ///< a regular file
bool folder_exists(const std::string& path);
bool path_exists(const std::string& path);                 ///< of any kind
Result<std::uint64_t> file_size(const std::string& path);  ///< of a regular file
/// Renames and makes the new name durable. Replaces a file.
Result<void> move_file(const std::string& from, const std::string& to);
/// Nobody but root can change the file any more; it can still be replaced and removed.
Result<void> make_read_only(const std::string& path);
Result<void> remove_file(const std::string& path);    ///< absent is fine
Result<void> remove_folder(const std::string& path);  ///< with all that is in it; links are removed, not followed
/// Names in a folder, sorted, without "." and "..".
Result<std::vector<std::string>> list_folder(const std::string& path);
/// Bytes that this user may still write to the file system that holds `path` (which exists).
Result<std::uint64_t> free_space(const std::string& path);

/// The error of a failed system call: "cannot open: No such file or directory", with the code that errno means
/// (ENOENT → kNotFound, ENOSPC and EDQUOT → kExhausted, otherwise kIo) and the path as place.
tl::unexpected<Error> fail_errno(std::string_view what, const std::string& path, int error);

}  // namespace kinglet
