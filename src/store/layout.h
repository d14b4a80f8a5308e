// Where things are in the store. Shared by the sources of src/store.
#pragma once

#include <string>
#include <vector>

#include "base/sha256.h"
#include "kinglet/store.h"

namespace kinglet {

std::string models_folder();   ///< …/models
std::string partial_folder();  ///< …/partial

std::string file_of(const ModelName& name);       ///< models/NAME.gguf
std::string folder_of(const ModelName& name);     ///< models/NAME
std::string checksums_of(const ModelName& name);  ///< models/NAME.sha256
std::string lock_of(const ModelName& name);       ///< partial/NAME.lock
std::string staging_of(const ModelName& name);    ///< partial/NAME/: the folder that becomes models/NAME

/// A file that belongs to a model: its path below the model's folder ("" for a single file) and what it must hash to.
struct ModelFile {
  std::string path;
  Digest digest;
};

/// "HASH  PATH" lines.
std::string checksum_text(const ModelName& name, bool is_folder, const std::vector<ModelFile>& files);

/// The stored model of exactly this name; kNotFound (without a hint) otherwise.
Result<StoredModel> read_stored_model(const ModelName& name);

/// True where the store holds exactly these files, by size of the first and the recorded checksums.
bool holds(const StoredModel& model, const std::vector<ModelFile>& files);

/// Gives a finished file or folder its name in the store, with its checksums.
Result<StoredModel> place_model(const ModelName& name, bool is_folder, const std::string& staged,
                                const std::vector<ModelFile>& files);

/// True for a path of names that stays below its folder: no "..", no empty or absolute parts, no '\\', printable.
bool is_relative_path(std::string_view path);

/// kExhausted with both figures where the store's disk has less than `bytes` and a reserve free.
Result<void> check_space(std::uint64_t bytes);

/// The user asked the program to stop.
bool store_interrupted();
/// For FileLock: waits on, unless the user asked the program to stop.
bool store_may_wait();

/// Makes the store's folders.
Result<void> make_store();

}  // namespace kinglet
