#include "base/file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/file_descriptor.h"
#include "base/try.h"

namespace kinglet {

tl::unexpected<Error> fail_errno(std::string_view what, const std::string& path, int error) {
  ErrorCode code = ErrorCode::kIo;
  std::string hint;
  if (error == ENOENT || error == ENOTDIR) {
    code = ErrorCode::kNotFound;
  } else if (error == ENOSPC || error == EDQUOT || error == EFBIG || error == ENOMEM) {
    code = ErrorCode::kExhausted;
    hint = error == ENOMEM ? "Free memory, and try again." : "Free space on this disk, and try again.";
  } else if (error == EACCES || error == EPERM) {
    hint = "Look at its owner and permissions (ls -ld), or use another place.";
  }
  char buffer[256];
  return fail(code, std::string(what) + ": " + strerror_r(error, buffer, sizeof buffer), hint, path);
}

Descriptor::~Descriptor() {
  if (file_ >= 0) close(file_);
}

Result<OpenedFile> open_regular(const std::string& path) {
  if (path.find('\0') != std::string::npos) return fail(ErrorCode::kInvalidArgument, "a file name with a zero byte");
  Descriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (file.get() < 0) return fail_errno("cannot open", path, errno);
  struct stat status = {};
  if (fstat(file.get(), &status) != 0) return fail_errno("cannot read", path, errno);
  if (S_ISDIR(status.st_mode)) return fail(ErrorCode::kInvalidArgument, "expected a file, found a folder", "", path);
  if (!S_ISREG(status.st_mode)) {
    return fail(ErrorCode::kInvalidArgument, "expected a regular file, found a pipe, socket or device",
                "Copy it into a file first.", path);
  }
  return OpenedFile{std::move(file), static_cast<std::uint64_t>(status.st_size)};
}

Result<void> sync_folder_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  const std::string folder = slash == std::string::npos ? "." : path.substr(0, std::max<std::size_t>(slash, 1));
  const Descriptor file(open(folder.c_str(), O_RDONLY | O_CLOEXEC | O_DIRECTORY));
  if (file.get() < 0) return fail_errno("cannot open", folder, errno);
  // Some file systems cannot sync a folder (EINVAL): there the rename is all that there is.
  if (fsync(file.get()) != 0 && errno != EINVAL) return fail_errno("cannot write", folder, errno);
  return {};
}

Result<void> write_all(int file, const void* bytes, std::size_t size, std::uint64_t offset, const std::string& path) {
  const char* next = static_cast<const char*>(bytes);
  for (std::size_t left = size; left > 0;) {
    const ssize_t count = write(file, next, left);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) {
      const int error = count < 0 ? errno : ENOSPC;
      return fail_errno(
          "cannot write " + std::to_string(left) + " bytes after the first " + std::to_string(offset + size - left),
          path, error);
    }
    next += count;
    left -= static_cast<std::size_t>(count);
  }
  return {};
}

Result<RegularFile> RegularFile::open(const std::string& path) {
  KINGLET_TRY(OpenedFile opened, open_regular(path));
  RegularFile file;
  file.file_ = opened.file.release();
  file.size_ = opened.size;
  file.path_ = path;
  return file;
}

RegularFile::RegularFile(RegularFile&& other) noexcept
    : file_(std::exchange(other.file_, -1)), size_(other.size_), path_(std::move(other.path_)) {}

RegularFile& RegularFile::operator=(RegularFile&& other) noexcept {
  std::swap(file_, other.file_);
  std::swap(size_, other.size_);
  std::swap(path_, other.path_);
  return *this;
}

RegularFile::~RegularFile() {
  if (file_ >= 0) close(file_);
}

Result<std::size_t> RegularFile::read(std::span<std::byte> out) {
  std::size_t filled = 0;
  while (filled < out.size()) {
    const ssize_t count = ::read(file_, out.data() + filled, out.size() - filled);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return fail_errno("cannot read", path_, errno);
    if (count == 0) break;
    filled += static_cast<std::size_t>(count);
  }
  return filled;
}

Result<void> RegularFile::read_at(std::uint64_t offset, std::span<std::byte> out) const {
  if (offset > size_ || out.size() > size_ - offset) {
    return fail(ErrorCode::kCorrupt,
                "expected " + std::to_string(out.size()) + " bytes at offset " + std::to_string(offset) +
                    ", but the file ends at " + std::to_string(size_),
                "", path_);
  }
  std::size_t filled = 0;
  while (filled < out.size()) {
    const ssize_t count = pread(file_, out.data() + filled, out.size() - filled, static_cast<off_t>(offset + filled));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return fail_errno("cannot read", path_, errno);
    if (count == 0) return fail(ErrorCode::kCorrupt, "the file shrank while it was read", "", path_);
    filled += static_cast<std::size_t>(count);
  }
  return {};
}

Result<std::string> read_file(const std::string& path, std::uint64_t max_bytes) {
  Descriptor own;
  int file = STDIN_FILENO;
  const std::string place = path == "-" ? "standard input" : path;
  const auto too_long = [&] {
    return fail(ErrorCode::kExhausted, "longer than the " + std::to_string(max_bytes) + " bytes allowed here", "",
                place);
  };
  std::string text;
  if (path != "-") {
    KINGLET_TRY(OpenedFile opened, open_regular(path));
    if (opened.size > max_bytes) return too_long();
    text.reserve(opened.size);
    own = std::move(opened.file);
    file = own.get();
  }
  char buffer[65536];
  for (;;) {
    const ssize_t count = read(file, buffer, sizeof buffer);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return fail_errno("cannot read", place, errno);
    if (count == 0) return text;
    if (text.size() + static_cast<std::size_t>(count) > max_bytes) return too_long();
    text.append(buffer, static_cast<std::size_t>(count));
  }
}

Result<std::unique_ptr<AppendFile>> AppendFile::open(const std::string& path, std::uint64_t keep) {
  std::unique_ptr<AppendFile> file(new AppendFile());
  file->path_ = path;
  file->file_ = ::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0666);
  if (file->file_ < 0) return fail_errno("cannot create", path, errno);
  struct stat status = {};
  if (fstat(file->file_, &status) != 0) return fail_errno("cannot read", path, errno);
  if (!S_ISREG(status.st_mode)) return fail(ErrorCode::kInvalidArgument, "expected a regular file", "", path);
  if (static_cast<std::uint64_t>(status.st_size) < keep) {
    return fail(ErrorCode::kCorrupt, "shorter than the " + std::to_string(keep) + " bytes to go on from", "", path);
  }
  if (ftruncate(file->file_, static_cast<off_t>(keep)) != 0 || lseek(file->file_, 0, SEEK_END) < 0) {
    return fail_errno("cannot write", path, errno);
  }
  file->size_ = keep;
  return file;
}

AppendFile::~AppendFile() {
  if (file_ >= 0) ::close(file_);
}

Result<void> AppendFile::write(std::span<const std::byte> bytes) {
  KINGLET_CHECK(write_all(file_, bytes.data(), bytes.size(), size_, path_));
  size_ += bytes.size();
  return {};
}

Result<void> AppendFile::close() {
  const Descriptor file(std::exchange(file_, -1));
  if (fsync(file.get()) != 0) return fail_errno("cannot write", path_, errno);
  return {};
}

Result<std::unique_ptr<FileLock>> FileLock::acquire(const std::string& path, bool (*waiting)()) {
  std::unique_ptr<FileLock> lock(new FileLock());
  lock->path_ = path;
  for (bool told = false;;) {
    lock->file_ = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (lock->file_ < 0) return fail_errno("cannot create the lock file", path, errno);
    while (flock(lock->file_, LOCK_EX | LOCK_NB) != 0) {
      if (errno != EWOULDBLOCK && errno != EINTR) return fail_errno("cannot lock", path, errno);
      if (waiting && !waiting()) return fail(ErrorCode::kCancelled, "interrupted while waiting for a lock", "", path);
      told = true;
      usleep(100'000);
    }
    // The holder before us may have removed the file; then the lock is on a file without a name, and another process
    // could lock a new one.
    struct stat held = {}, named = {};
    if (fstat(lock->file_, &held) == 0 && stat(path.c_str(), &named) == 0 && held.st_ino == named.st_ino) return lock;
    close(std::exchange(lock->file_, -1));
    if (told && waiting && !waiting()) return fail(ErrorCode::kCancelled, "interrupted", "", path);
  }
}

FileLock::~FileLock() {
  if (file_ < 0) return;
  unlink(path_.c_str());  // while it is still held, so that nobody waits on a name that is gone
  close(file_);
}

}  // namespace kinglet
