// Files and folders that appear whole or not at all.
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <utility>

#include "base/file.h"
#include "base/file_descriptor.h"
#include "base/try.h"

namespace kinglet {

namespace {

// Temporary names are FOLDER/.NAME.PID-NUMBER.tmp, and belong to whoever holds a lock (flock) on what they name: the
// number of a process says nothing about processes of other machines and containers that share the folder.
struct Names {
  explicit Names(const std::string& path) {
    const std::size_t slash = path.rfind('/') + 1;
    folder = path.substr(0, slash);
    prefix = "." + path.substr(slash, 200) + ".";
  }
  std::string next() const {
    static std::atomic<unsigned> counter{0};
    return folder + prefix + std::to_string(getpid()) + "-" + std::to_string(counter++) + ".tmp";
  }
  bool is_temporary(std::string_view name) const {
    constexpr std::string_view kSuffix = ".tmp";
    if (name.size() <= prefix.size() + kSuffix.size() || !name.starts_with(prefix) || !name.ends_with(kSuffix)) {
      return false;
    }
    name = name.substr(prefix.size(), name.size() - prefix.size() - kSuffix.size());
    return name.find_first_not_of("0123456789-") == std::string_view::npos &&
           std::count(name.begin(), name.end(), '-') == 1;
  }
  std::string folder, prefix;
};

// Removes what killed processes left of earlier attempts to write the same file or folder. Not being able to is no
// error: it is in nobody's way.
void remove_left_behind(const Names& names) {
  const auto listed = list_folder(names.folder.empty() ? "." : names.folder);
  if (!listed) return;
  for (const std::string& name : *listed) {
    if (!names.is_temporary(name)) continue;
    const std::string path = names.folder + name;
    const Descriptor left(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
    struct stat status = {};
    if (left.get() < 0 || fstat(left.get(), &status) != 0) continue;
    if (flock(left.get(), LOCK_EX | LOCK_NB) != 0) continue;  // its writer lives, or there are no locks here
    if (S_ISREG(status.st_mode)) unlink(path.c_str());
    if (S_ISDIR(status.st_mode)) (void)remove_folder(path);
  }
}

// Whether the lock on a new temporary is ours and it still has its name: another process may have taken it for
// something left behind between its making and its locking. File systems without locks give none to anybody.
bool lock_new(int file, const std::string& path) {
  if (flock(file, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) return false;
  struct stat held = {}, named = {};
  return fstat(file, &held) == 0 && lstat(path.c_str(), &named) == 0 && held.st_ino == named.st_ino;
}

std::string folder_of_path(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  return slash == std::string::npos ? "." : path.substr(0, std::max<std::size_t>(slash, 1));
}

std::string descriptor_path(int file) { return "/proc/self/fd/" + std::to_string(file); }

}  // namespace

Result<std::unique_ptr<AtomicFile>> AtomicFile::create(const std::string& path, bool nameless) {
  // A file above `ulimit -f` is an error of write(), not the end of the process.
  static const bool ignored [[maybe_unused]] = signal(SIGXFSZ, SIG_IGN) != SIG_ERR;
  if (path.empty() || path.back() == '/' || folder_exists(path)) {
    return fail(ErrorCode::kInvalidArgument, "expected the name of a file to write, found a folder", "", path);
  }
  std::unique_ptr<AtomicFile> atomic(new AtomicFile());
  atomic->path_ = path;
  if (nameless) {
    // It gets its name through /proc: without that, a temporary name is the only way.
    Descriptor file(open(folder_of_path(path).c_str(), O_WRONLY | O_TMPFILE | O_CLOEXEC, 0666));
    if (file.get() >= 0 && access(descriptor_path(file.get()).c_str(), F_OK) == 0) {
      atomic->file_ = file.release();
      return atomic;
    }
  }
  const Names names(path);
  remove_left_behind(names);
  int error = EEXIST;
  for (int attempt = 0; attempt < 100 && error == EEXIST; ++attempt) {
    atomic->temporary_ = names.next();
    atomic->file_ = open(atomic->temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    error = atomic->file_ < 0 ? errno : EEXIST;
    if (atomic->file_ < 0) continue;
    if (lock_new(atomic->file_, atomic->temporary_)) return atomic;
    close(std::exchange(atomic->file_, -1));
  }
  atomic->temporary_.clear();
  return fail_errno("cannot create", path, error);
}

AtomicFile::~AtomicFile() {
  if (!temporary_.empty()) unlink(temporary_.c_str());  // while it is locked
  if (file_ >= 0) close(file_);
}

Result<void> AtomicFile::write(std::span<const std::byte> bytes) {
  if (file_ < 0) return fail(ErrorCode::kInternal, "written after its end", "", path_);
  KINGLET_CHECK(write_all(file_, bytes.data(), bytes.size(), written_, path_));
  written_ += bytes.size();
  return {};
}

Result<void> AtomicFile::write(std::string_view text) { return write(std::as_bytes(std::span(text))); }

// A nameless file gets its own name where nothing has it; a link never replaces, so otherwise it gets a temporary one.
Result<void> AtomicFile::take_name() {
  const std::string own = descriptor_path(file_);
  if (linkat(AT_FDCWD, own.c_str(), AT_FDCWD, path_.c_str(), AT_SYMLINK_FOLLOW) == 0) return {};
  int error = errno;
  const Names names(path_);
  if (error == EEXIST) {
    remove_left_behind(names);
    (void)flock(file_, LOCK_EX | LOCK_NB);  // nobody else can have opened it
  }
  for (int attempt = 0; attempt < 100 && error == EEXIST; ++attempt) {
    temporary_ = names.next();
    if (linkat(AT_FDCWD, own.c_str(), AT_FDCWD, temporary_.c_str(), AT_SYMLINK_FOLLOW) == 0) return {};
    error = errno;
  }
  temporary_.clear();
  return fail_errno("cannot give the file its name", path_, error);
}

Result<void> AtomicFile::commit() {
  if (file_ < 0) return fail(ErrorCode::kInternal, "ended twice", "", path_);
  if (fsync(file_) != 0) return fail_errno("cannot write", path_, errno);
  if (temporary_.empty()) KINGLET_CHECK(take_name());
  if (!temporary_.empty()) {
    if (rename(temporary_.c_str(), path_.c_str()) != 0) {
      return fail_errno("cannot give the file its name", path_, errno);
    }
    temporary_.clear();
  }
  if (close(std::exchange(file_, -1)) != 0) return fail_errno("cannot write", path_, errno);
  return sync_folder_of(path_);
}

Result<AtomicFolder> AtomicFolder::create(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  if (path_exists(path)) {
    KINGLET_TRY(const auto present, list_folder(path));
    if (!present.empty()) {
      return fail(ErrorCode::kInvalidArgument, "the output folder is not empty",
                  "Remove it first, or name another one.", path);
    }
  }
  const Names names(path);
  if (names.folder.size() > 1) KINGLET_CHECK(make_folders(names.folder.substr(0, names.folder.size() - 1)));
  remove_left_behind(names);
  AtomicFolder folder;
  folder.path_ = path;
  int error = EEXIST;
  for (int attempt = 0; attempt < 100 && error == EEXIST; ++attempt) {
    folder.temporary_ = names.next();
    if (mkdir(folder.temporary_.c_str(), 0777) != 0) {
      error = errno;
      continue;
    }
    folder.lock_ = open(folder.temporary_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (folder.lock_ >= 0 && lock_new(folder.lock_, folder.temporary_)) return folder;
    if (folder.lock_ >= 0) close(std::exchange(folder.lock_, -1));
  }
  folder.temporary_.clear();
  return fail_errno("cannot create the folder", path, error);
}

AtomicFolder::AtomicFolder(AtomicFolder&& other) noexcept
    : path_(std::move(other.path_)),
      temporary_(std::exchange(other.temporary_, "")),
      lock_(std::exchange(other.lock_, -1)) {}

AtomicFolder::~AtomicFolder() {
  if (!temporary_.empty()) (void)remove_folder(temporary_);
  if (lock_ >= 0) close(lock_);
}

Result<void> AtomicFolder::commit() {
  KINGLET_CHECK(move_file(temporary_, path_));
  temporary_.clear();
  return {};
}

}  // namespace kinglet
