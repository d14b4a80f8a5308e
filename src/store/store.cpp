#include "kinglet/store.h"

#include <algorithm>
#include <set>

#include "base/environment.h"
#include "base/file.h"
#include "base/interrupt.h"
#include "base/sha256.h"
#include "base/try.h"
#include "store/layout.h"

namespace kinglet {

namespace {

constexpr std::uint64_t kMaxChecksumBytes = 1 << 20;  // 10,000 shards
constexpr std::uint64_t kDiskReserve = 32ull << 20;   // what a pull leaves free for everybody else
constexpr std::string_view kSumSuffix = ".sha256";
constexpr std::string_view kFileSuffix = ".gguf";

std::vector<StoredFile> parse_checksums(std::string_view text) {
  std::vector<StoredFile> files;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.size() < 67 || line.substr(64, 2) != "  ") return {};
    const auto digest = Digest::parse(line.substr(0, 64));
    if (!digest || !is_relative_path(line.substr(66))) return {};
    files.push_back({std::string(line.substr(66)), digest->hex()});
  }
  return files;
}

// Sizes of all regular files below a folder of the store (two levels are what it has).
std::uint64_t folder_bytes(const std::string& path, int depth = 0) {
  std::uint64_t sum = 0;
  const auto names = list_folder(path);
  if (!names || depth > 8) return 0;
  for (const std::string& name : *names) {
    const std::string child = path + "/" + name;
    if (folder_exists(child)) {
      sum += folder_bytes(child, depth + 1);
    } else if (const auto size = file_size(child)) {
      sum += *size;
    }
  }
  return sum;
}

}  // namespace

std::string store_folder() {
  std::string home = expand_home(environment("KINGLET_HOME"));
  return home.empty() ? data_folder() + "/kinglet" : home;
}

std::string models_folder() { return store_folder() + "/models"; }
std::string partial_folder() { return store_folder() + "/partial"; }
std::string file_of(const ModelName& name) { return models_folder() + "/" + name.text() + std::string(kFileSuffix); }
std::string folder_of(const ModelName& name) { return models_folder() + "/" + name.text(); }
std::string checksums_of(const ModelName& name) {
  return models_folder() + "/" + name.text() + std::string(kSumSuffix);
}
std::string lock_of(const ModelName& name) { return partial_folder() + "/" + name.text() + ".lock"; }
std::string staging_of(const ModelName& name) { return partial_folder() + "/" + name.text(); }

std::string checksum_text(const ModelName& name, bool is_folder, const std::vector<ModelFile>& files) {
  std::string text;
  for (const ModelFile& file : files) {
    text += file.digest.hex() + "  " + name.text() + (is_folder ? "/" + file.path : std::string(kFileSuffix)) + "\n";
  }
  return text;
}

Result<StoredModel> read_stored_model(const ModelName& name) {
  StoredModel model;
  model.name = name.text();
  if (file_exists(file_of(name))) {
    model.path = file_of(name);
    KINGLET_TRY(model.bytes, file_size(model.path));
  } else if (folder_exists(folder_of(name))) {
    model.path = folder_of(name);
    model.is_folder = true;
    model.bytes = folder_bytes(model.path);
  } else {
    return fail(ErrorCode::kNotFound, "there is no model " + name.text() + " in the store");
  }
  if (const auto text = read_file(checksums_of(name), kMaxChecksumBytes)) model.files = parse_checksums(*text);
  return model;
}

bool holds(const StoredModel& model, const std::vector<ModelFile>& files) {
  const auto name = ModelName::parse(model.name);
  if (!name || model.files.size() != files.size() || model.is_folder != (!files.empty() && !files[0].path.empty())) {
    return false;
  }
  return std::all_of(files.begin(), files.end(), [&](const ModelFile& file) {
    const std::string path = model.name + (model.is_folder ? "/" + file.path : std::string(kFileSuffix));
    return std::any_of(
               model.files.begin(), model.files.end(),
               [&](const StoredFile& stored) { return stored.path == path && stored.sha256 == file.digest.hex(); }) &&
           file_exists(models_folder() + "/" + path);
  });
}

Result<StoredModel> place_model(const ModelName& name, bool is_folder, const std::string& staged,
                                const std::vector<ModelFile>& files) {
  // What had the name goes first, its checksums last: whatever stands under the name has its checksums beside it.
  KINGLET_CHECK(remove_folder(folder_of(name)));
  if (is_folder) KINGLET_CHECK(remove_file(file_of(name)));
  KINGLET_TRY(auto sums, AtomicFile::create(checksums_of(name)));
  KINGLET_CHECK(sums->write(checksum_text(name, is_folder, files)));
  KINGLET_CHECK(sums->commit());
  KINGLET_CHECK(move_file(staged, is_folder ? folder_of(name) : file_of(name)));
  return read_stored_model(name);
}

bool is_relative_path(std::string_view path) {
  if (path.empty() || path.size() > 1024) return false;
  for (std::size_t begin = 0; begin <= path.size();) {
    const std::size_t end = std::min(path.find('/', begin), path.size());
    const std::string_view part = path.substr(begin, end - begin);
    if (part.empty() || part == "." || part == "..") return false;
    begin = end + 1;
  }
  return std::all_of(path.begin(), path.end(),
                     [](char c) { return static_cast<unsigned char>(c) >= 32 && c != '\\' && c != 127; });
}

Result<void> check_space(std::uint64_t bytes) {
  const auto space = free_space(store_folder());
  if (!space || *space >= bytes + kDiskReserve) return {};
  return fail(ErrorCode::kExhausted,
              "not enough disk: " + std::to_string(bytes) + " bytes are needed (and " + std::to_string(kDiskReserve) +
                  " left free), " + std::to_string(*space) + " are free",
              "Remove a model (kinglet list, kinglet rm NAME), or set KINGLET_HOME to a folder on a larger disk.",
              store_folder());
}

bool store_interrupted() { return interrupted(); }
bool store_may_wait() { return !interrupted(); }

Result<void> make_store() {
  KINGLET_CHECK(make_folders(models_folder()));
  return make_folders(partial_folder());
}

Result<std::vector<StoredModel>> stored_models() {
  std::vector<StoredModel> models;
  if (!folder_exists(models_folder())) return models;
  KINGLET_TRY(const auto entries, list_folder(models_folder()));
  std::set<std::string> names;
  for (std::string_view entry : entries) {
    const bool is_file = entry.ends_with(kFileSuffix);
    if (is_file) entry.remove_suffix(kFileSuffix.size());
    const auto name = ModelName::parse(entry);
    if (name && name->text() == entry && names.insert(name->text()).second) {
      if (auto model = read_stored_model(*name)) {
        models.push_back(std::move(*model));
      } else {
        names.erase(name->text());
      }
    }
  }
  std::sort(models.begin(), models.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  return models;
}

Result<std::vector<std::string>> local_model_names() {
  KINGLET_TRY(const auto models, stored_models());
  std::vector<std::string> names;
  for (const StoredModel& model : models) names.push_back(model.name);
  return names;
}

Result<void> verify_model(const StoredModel& model, const StoreProgress& progress) {
  if (model.files.empty()) {
    return fail(ErrorCode::kCorrupt, "the checksums of " + model.name + " are missing or unreadable",
                "Fetch it again: kinglet rm " + model.name + ", then kinglet pull " + model.name, model.path);
  }
  std::uint64_t done = 0;
  for (const StoredFile& file : model.files) {
    const std::string path = models_folder() + "/" + file.path;
    KINGLET_TRY(const std::uint64_t size, file_size(path));
    KINGLET_TRY(const Digest digest, sha256_file(path, [&](std::uint64_t bytes) {
                  if (progress) progress("checking " + model.name, done + bytes, model.bytes);
                  return !store_interrupted();
                }));
    done += size;
    if (digest.hex() != file.sha256) {
      return fail(ErrorCode::kCorrupt, "expected the SHA-256 " + file.sha256 + ", found " + digest.hex(),
                  "Fetch it again: kinglet rm " + model.name + ", then kinglet pull " + model.name, path);
    }
  }
  return {};
}

Result<std::uint64_t> remove_model(std::string_view text) {
  KINGLET_TRY(const ModelName name, ModelName::parse(text));
  KINGLET_TRY(const StoredModel known, find_stored_model(text));
  KINGLET_CHECK(make_store());
  KINGLET_TRY(const auto lock, FileLock::acquire(lock_of(name), store_may_wait));
  // Another process may have removed it meanwhile: then it is gone, as asked.
  const auto model = read_stored_model(name);
  KINGLET_CHECK(remove_file(file_of(name)));
  KINGLET_CHECK(remove_folder(folder_of(name)));
  KINGLET_CHECK(remove_folder(staging_of(name)));
  KINGLET_CHECK(remove_file(checksums_of(name)));
  return model ? model->bytes : 0;
}

Result<std::uint64_t> remove_partial_downloads() {
  if (!folder_exists(partial_folder())) return 0;
  const std::uint64_t bytes = folder_bytes(partial_folder());
  KINGLET_TRY(const auto names, list_folder(partial_folder()));
  for (const std::string& name : names) {
    const std::string path = partial_folder() + "/" + name;
    if (name.ends_with(".lock")) continue;  // somebody may hold it
    if (folder_exists(path)) {
      KINGLET_CHECK(remove_folder(path));
    } else {
      KINGLET_CHECK(remove_file(path));
    }
  }
  return bytes;
}

}  // namespace kinglet
