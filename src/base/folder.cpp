#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>

#include "base/file.h"
#include "base/file_descriptor.h"
#include "base/try.h"

namespace kinglet {

namespace {

constexpr int kMaxFolderDepth = 64;  // of what remove_folder() walks into; the store's folders have two levels

Result<void> remove_tree(const std::string& path, int depth) {
  if (depth > kMaxFolderDepth) return fail(ErrorCode::kInvalidArgument, "folders nest too deeply to remove", "", path);
  KINGLET_TRY(const auto names, list_folder(path));
  for (const std::string& name : names) {
    const std::string child = path + "/" + name;
    struct stat status = {};
    if (lstat(child.c_str(), &status) != 0) {
      if (errno == ENOENT) continue;
      return fail_errno("cannot read", child, errno);
    }
    if (S_ISDIR(status.st_mode)) {
      KINGLET_CHECK(remove_tree(child, depth + 1));
    } else {
      KINGLET_CHECK(remove_file(child));
    }
  }
  if (rmdir(path.c_str()) != 0 && errno != ENOENT) return fail_errno("cannot remove", path, errno);
  return {};
}

std::string_view kind_of(mode_t mode) {
  if (S_ISFIFO(mode)) return "a pipe";
  if (S_ISSOCK(mode)) return "a socket";
  return S_ISCHR(mode) || S_ISBLK(mode) ? "a device" : "something else";
}

tl::unexpected<Error> not_permitted(const std::string& path) {
  return fail(
      ErrorCode::kUnsupported, "expected a file that can be read, found one without permission to read it",
      "Look at the owner and the permissions of the file and its folders (ls -ld), or copy it to a place of your "
      "own.",
      path);
}

}  // namespace

Result<void> check_file_or_folder(const std::string& path) {
  struct stat status = {};
  if (path.find('\0') != std::string::npos) return fail(ErrorCode::kInvalidArgument, "a file name with a zero byte");
  if (stat(path.c_str(), &status) != 0)
    return errno == EACCES ? not_permitted(path) : fail_errno("cannot open", path, errno);
  const bool is_folder = S_ISDIR(status.st_mode);
  if (!is_folder && !S_ISREG(status.st_mode)) {
    return fail(ErrorCode::kUnsupported, "expected a regular file, found " + std::string(kind_of(status.st_mode)),
                "Copy it into a file first.", path);
  }
  if (faccessat(AT_FDCWD, path.c_str(), is_folder ? R_OK | X_OK : R_OK, AT_EACCESS) != 0) return not_permitted(path);
  return {};
}

Result<void> make_folders(const std::string& path) {
  if (path.empty()) return fail(ErrorCode::kInvalidArgument, "expected the name of a folder, found none");
  for (std::size_t end = path.find('/', 1);; end = path.find('/', end + 1)) {
    const std::string part = path.substr(0, end);
    if (mkdir(part.c_str(), 0777) != 0) {
      const int error = errno;  // of mkdir: looking whether the folder is there sets another
      if (!folder_exists(part)) return fail_errno("cannot create the folder", part, error == EEXIST ? ENOTDIR : error);
    }
    if (end == std::string::npos) return {};
  }
}

bool file_exists(const std::string& path) {
  struct stat status = {};
  return stat(path.c_str(), &status) == 0 && S_ISREG(status.st_mode);
}

bool folder_exists(const std::string& path) {
  struct stat status = {};
  return stat(path.c_str(), &status) == 0 && S_ISDIR(status.st_mode);
}

bool path_exists(const std::string& path) {
  struct stat status = {};
  return stat(path.c_str(), &status) == 0;
}

Result<void> make_read_only(const std::string& path) {
  if (chmod(path.c_str(), 0444) != 0) return fail_errno("cannot change the permissions", path, errno);
  return {};
}

Result<std::uint64_t> file_size(const std::string& path) {
  struct stat status = {};
  if (stat(path.c_str(), &status) != 0) return fail_errno("cannot read", path, errno);
  if (!S_ISREG(status.st_mode)) return fail(ErrorCode::kInvalidArgument, "expected a regular file", "", path);
  return static_cast<std::uint64_t>(status.st_size);
}

Result<void> move_file(const std::string& from, const std::string& to) {
  if (rename(from.c_str(), to.c_str()) != 0) return fail_errno("cannot move " + from, to, errno);
  return sync_folder_of(to);
}

Result<void> remove_file(const std::string& path) {
  if (unlink(path.c_str()) != 0 && errno != ENOENT) return fail_errno("cannot remove", path, errno);
  return {};
}

Result<void> remove_folder(const std::string& path) {
  struct stat status = {};
  if (lstat(path.c_str(), &status) != 0 && errno == ENOENT) return {};
  if (!S_ISDIR(status.st_mode)) return fail(ErrorCode::kInvalidArgument, "expected a folder", "", path);
  return remove_tree(path, 0);
}

Result<std::vector<std::string>> list_folder(const std::string& path) {
  DIR* const folder = opendir(path.c_str());
  if (!folder) return fail_errno("cannot open the folder", path, errno);
  std::vector<std::string> names;
  while (const dirent* const entry = readdir(folder)) {
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
  }
  closedir(folder);
  std::sort(names.begin(), names.end());
  return names;
}

Result<std::uint64_t> free_space(const std::string& path) {
  struct statvfs status = {};
  if (statvfs(path.c_str(), &status) != 0) return fail_errno("cannot read", path, errno);
  return static_cast<std::uint64_t>(status.f_bavail) * status.f_frsize;
}

}  // namespace kinglet
