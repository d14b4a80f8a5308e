#include <algorithm>
#include <vector>

#include "base/file.h"
#include "base/try.h"
#include "store/download.h"
#include "store/hub.h"
#include "store/source.h"

namespace kinglet {

namespace {

std::string base_name(std::string path) {
  while (path.size() > 1 && path.ends_with('/')) path.pop_back();
  return path.substr(path.rfind('/') + 1);
}

// "x-00001-of-00003.gguf": where "-00001-of-" begins; npos for a file that is no shard.
std::size_t shard_at(const std::string& name) {
  const std::size_t at = name.rfind("-of-");
  return at == std::string::npos || at < 6 || name[at - 6] != '-' ? std::string::npos : at - 6;
}

// What is copied: paths below `folder`.
Result<std::vector<std::string>> files_of(const std::string& path, std::string& folder) {
  KINGLET_CHECK(check_file_or_folder(path));
  if (!folder_exists(path)) {
    const std::string name = base_name(path);
    folder = path.substr(0, path.size() - name.size());
    if (folder.empty()) folder = "./";
    if (name.ends_with(".safetensors")) {
      return fail(ErrorCode::kInvalidArgument,
                  "a .safetensors file alone is no model: its config.json and tokenizer are needed",
                  "Pull the folder that it is in.", path);
    }
    const std::size_t shard = shard_at(name);
    if (shard == std::string::npos) return std::vector<std::string>{name};
    std::vector<std::string> shards;
    KINGLET_TRY(const auto names, list_folder(folder));
    for (const std::string& other : names) {
      if (shard_at(other) == shard && other.substr(0, shard) == name.substr(0, shard) && other.ends_with(".gguf")) {
        shards.push_back(other);
      }
    }
    return shards;
  }
  folder = path + (path.ends_with('/') ? "" : "/");
  std::vector<std::string> chosen;
  bool weights = false;
  KINGLET_TRY(auto names, list_folder(path));
  if (file_exists(folder + "1_Pooling/config.json")) names.emplace_back("1_Pooling/config.json");
  for (const std::string& name : names) {
    if (!file_exists(folder + name) || !(belongs_to_model(name) || name.ends_with(".gguf"))) continue;
    weights = weights || name.ends_with(".safetensors") || name.ends_with(".gguf");
    chosen.push_back(name);
  }
  if (!weights) {
    return fail(ErrorCode::kCorrupt, "expected a model, found a folder without GGUF or safetensors files",
                "Give a GGUF file, or a folder with config.json, model.safetensors and tokenizer.json.", path);
  }
  return chosen;
}

}  // namespace

std::string local_model_name(const std::string& path) {
  std::string name = base_name(path);
  for (const std::string_view suffix : {".gguf", ".safetensors"}) {
    if (name.ends_with(suffix)) name.resize(name.size() - suffix.size());
  }
  if (const std::size_t shard = shard_at(name); shard != std::string::npos) name.resize(shard);
  return name;
}

Result<Staged> stage_local(const ModelName& name, const std::string& path, const StoreProgress& progress) {
  std::string folder;
  KINGLET_TRY(const auto paths, files_of(path, folder));
  Staged staged;
  staged.is_folder = folder_exists(path) || paths.size() > 1;
  std::uint64_t total = 0;
  for (const std::string& file : paths) {
    if (file.ends_with(".gguf") || !staged.is_folder) KINGLET_CHECK(check_gguf_magic(folder + file, folder + file));
    KINGLET_TRY(const std::uint64_t bytes, file_size(folder + file));
    total += bytes;
  }
  KINGLET_CHECK(check_space(total));
  PullProgress shown(progress, "copying " + name.text(), total);
  std::vector<std::byte> buffer(1 << 20);
  for (std::size_t i = 0; i < paths.size(); ++i) {
    KINGLET_TRY(auto source, RegularFile::open(folder + paths[i]));
    KINGLET_TRY(PartialFile partial, PartialFile::open(name.text() + "-copy", 0));
    for (;;) {
      KINGLET_TRY(const std::size_t count, source.read(buffer));
      if (count == 0) break;
      if (store_interrupted()) {
        KINGLET_CHECK(remove_file(partial.path()));
        return fail(ErrorCode::kCancelled, "interrupted");
      }
      KINGLET_CHECK(partial.write(std::span(buffer).first(count)));
      shown.show(partial.bytes());
    }
    shown.finish_current(partial.bytes());
    staged.transferred += partial.bytes();
    KINGLET_TRY(const Digest digest, partial.finish(std::nullopt, path));
    staged.path = partial.path();
    staged.files.push_back({staged.is_folder ? paths[i] : "", digest});
    if (staged.is_folder) {
      KINGLET_TRY(const std::string target, staging_path(name, paths[i]));
      KINGLET_CHECK(move_file(partial.path(), target));
    }
  }
  if (staged.is_folder) staged.path = staging_of(name);
  return staged;
}

}  // namespace kinglet
