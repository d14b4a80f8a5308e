#include <cstring>

#include "base/file.h"
#include "base/try.h"
#include "store/download.h"
#include "store/http.h"
#include "store/source.h"

namespace kinglet {

namespace {

// An interrupted pull of a folder has finished this file already.
bool is_staged(const ModelName& name, const RemoteFile& file) {
  const std::string path = staging_of(name) + "/" + file.path;
  if (!file.digest || !is_relative_path(file.path) || !file_exists(path)) return false;
  const auto digest = sha256_file(path, [](std::uint64_t) { return !store_interrupted(); });
  return digest && *digest == *file.digest;
}

}  // namespace

Result<std::string> staging_path(const ModelName& name, const std::string& path) {
  if (!is_relative_path(path)) return fail(ErrorCode::kCorrupt, "a file name that could leave its folder: " + path);
  const std::string whole = staging_of(name) + "/" + path;
  KINGLET_CHECK(make_folders(whole.substr(0, whole.rfind('/'))));
  return whole;
}

Result<void> check_gguf_magic(const std::string& path, const std::string& shown) {
  KINGLET_TRY(auto file, RegularFile::open(path));
  std::byte magic[4] = {};
  KINGLET_TRY(const std::size_t count, file.read(magic));
  if (count == 4 && std::memcmp(magic, "GGUF", 4) == 0) return {};
  std::string found;
  for (std::size_t i = 0; i < count; ++i) {
    const char c = static_cast<char>(magic[i]);
    found += c >= 32 && c < 127 ? c : '.';
  }
  std::string hint;
  if (found.starts_with("PK")) hint = "This is a zip archive: unpack it first.";
  if (found.starts_with("<")) hint = "This looks like a web page: use the address of the file itself.";
  if (found.starts_with("vers"))
    hint = "This is a Git LFS pointer, not the file: run git lfs pull, or use hf:OWNER/NAME.";
  return fail(ErrorCode::kCorrupt, "expected a GGUF file (it begins with 'GGUF'), found '" + found + "'", hint, shown);
}

Result<Staged> stage_remote(const ModelName& name, const std::vector<RemoteFile>& files, bool is_folder,
                            const std::string& token, bool probing, const StoreProgress& progress) {
  std::uint64_t total = 0;
  bool all_known = true;
  for (const RemoteFile& file : files) {
    all_known = all_known && file.bytes;
    total += file.bytes.value_or(0);
  }
  PullProgress shown(progress, "pulling " + name.text(), all_known ? total : 0);
  Staged staged;
  staged.is_folder = is_folder;
  for (const RemoteFile& file : files) {
    if (is_folder && is_staged(name, file)) {
      shown.finish_current(file.bytes.value_or(0));
      staged.files.push_back({file.path, *file.digest});
      continue;
    }
    DownloadRequest request{.url = file.url, .token = token, .digest = file.digest, .bytes = file.bytes};
    request.probing = probing;
    KINGLET_TRY(const FetchedFile fetched, download(request, [&](std::uint64_t done, std::uint64_t size) {
                  if (files.size() == 1 && !shown.knows_total()) shown.set_total(size);
                  shown.show(done);
                }));
    shown.finish_current(fetched.bytes);
    staged.transferred += fetched.transferred;
    staged.files.push_back({is_folder ? file.path : "", fetched.digest});
    staged.path = fetched.path;
    if (is_folder) {
      KINGLET_TRY(const std::string target, staging_path(name, file.path));
      KINGLET_CHECK(move_file(fetched.path, target));
    }
  }
  if (is_folder) staged.path = staging_of(name);
  return staged;
}

}  // namespace kinglet
