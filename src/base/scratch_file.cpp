#include "base/scratch_file.h"

#include <fcntl.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

#include "base/environment.h"
#include "base/file.h"
#include "base/try.h"

namespace kinglet {
namespace {

Result<Descriptor> open_nameless(const std::string& folder) {
#if defined(O_TMPFILE)
  Descriptor file(open(folder.c_str(), O_RDWR | O_TMPFILE | O_CLOEXEC, 0600));
  if (file.get() >= 0) return file;
#endif
  std::string name = folder + "/kinglet-XXXXXX";
  Descriptor made(mkostemp(name.data(), O_CLOEXEC));
  if (made.get() < 0) return fail_errno("cannot make a file in", folder, errno);
  (void)unlink(name.c_str());
  return made;
}

}  // namespace

Result<std::unique_ptr<ScratchFile>> ScratchFile::create(std::uint64_t bytes) {
  std::unique_ptr<ScratchFile> made(new ScratchFile());
  const std::string wanted = environment("TMPDIR");
  made->folder_ = wanted.empty() ? "/var/tmp" : wanted;
  struct statvfs space = {};
  if (statvfs(made->folder_.c_str(), &space) == 0) {
    const std::uint64_t room = std::uint64_t{space.f_bavail} * space.f_frsize;
    if (room < bytes)
      return fail(ErrorCode::kExhausted,
                  "weights of " + std::to_string(bytes >> 20) + " MiB have to lie on disk, and " +
                      std::to_string(room >> 20) + " MiB are free",
                  "Set TMPDIR to a folder with more room.", made->folder_);
  }
  KINGLET_TRY(made->file_, open_nameless(made->folder_));
  const std::uint64_t whole = (bytes + kBlock - 1) / kBlock * kBlock;
  if (ftruncate(made->file_.get(), static_cast<off_t>(whole)) != 0)
    return fail_errno("cannot enlarge a file in", made->folder_, errno);
  return made;
}

Result<void> ScratchFile::write(std::uint64_t offset, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = pwrite(file_.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return fail_errno("cannot write to a file in", folder_, written < 0 ? errno : ENOSPC);
    bytes = bytes.subspan(static_cast<std::size_t>(written));
    offset += static_cast<std::uint64_t>(written);
  }
  return {};
}

Result<void> ScratchFile::seal() {
  if (fdatasync(file_.get()) != 0 && errno != EINVAL) return fail_errno("cannot write to a file in", folder_, errno);
  (void)posix_fadvise(file_.get(), 0, 0, POSIX_FADV_DONTNEED);
#if defined(O_DIRECT)
  const std::string self = "/proc/self/fd/" + std::to_string(file_.get());
  direct_ = Descriptor(open(self.c_str(), O_RDONLY | O_DIRECT | O_CLOEXEC));
#endif
  return {};
}

Result<void> ScratchFile::read(std::uint64_t offset, std::span<std::byte> to) const {
  const int file = direct() ? direct_.get() : file_.get();
  const std::uint64_t begin = offset, size = to.size();
  while (!to.empty()) {
    const ssize_t got = pread(file, to.data(), to.size(), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return fail_errno("cannot read weights from a file in", folder_, got < 0 ? errno : EIO);
    to = to.subspan(static_cast<std::size_t>(got));
    offset += static_cast<std::uint64_t>(got);
  }
  if (!direct()) (void)posix_fadvise(file, static_cast<off_t>(begin), static_cast<off_t>(size), POSIX_FADV_DONTNEED);
  return {};
}

}  // namespace kinglet
