// A Hugging Face directory (or a .safetensors file in one) as a Checkpoint.
#include <cstring>
#include <map>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "base/json.h"
#include "base/limits.h"
#include "base/try.h"
#include "model/format/hf.h"
#include "model/format/safetensors.h"
#include "model/format/validate.h"

namespace kinglet {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::string_view kSingle = "model.safetensors";
constexpr std::string_view kIndex = "model.safetensors.index.json";

class HfCheckpoint final : public Checkpoint {
 public:
  HfCheckpoint(std::string path, Metadata metadata, HfTensors tensors,
               std::vector<std::shared_ptr<const MappedFile>> files)
      : path_(std::move(path)),
        metadata_(std::move(metadata)),
        tensors_(std::move(tensors)),
        files_(std::move(files)) {}

  const Metadata& metadata() const override { return metadata_; }
  std::span<const TensorInfo> tensors() const override { return tensors_.infos; }
  std::string_view format() const override { return "safetensors"; }
  std::string_view path() const override { return path_; }
  std::uint64_t file_bytes() const override {
    std::uint64_t sum = 0;
    for (const auto& file : files_) sum += file->bytes().size();
    return sum;
  }

  Result<TensorData> data(const TensorInfo& tensor) const override {
    const HfSource* source = locate(tensor);
    if (!source) return fail(ErrorCode::kNotFound, "there is no tensor '" + printable(tensor.name) + "'", "", path_);
    const auto raw = files_[source->file]->bytes().subspan(source->tensor.offset, source->tensor.bytes);
    if (source->transform == HfTransform::kNone) return TensorData{raw, files_[source->file]};
    auto memory = std::make_shared<std::vector<std::byte>>(tensor.bytes);
    if (source->transform == HfTransform::kAddOne) {
      const BlockType& type = *source->tensor.type;
      std::vector<float> values(static_cast<std::size_t>(tensor.elements()));
      type.decode(raw.data(), values.size() / static_cast<std::size_t>(type.block_values), values.data());
      for (float& value : values) value += 1;
      std::memcpy(memory->data(), values.data(), memory->size());
    } else {
      permute_heads(raw, *memory, tensor.shape.front(), source->heads, false);
    }
    return TensorData{*memory, memory};
  }

  void release(const TensorInfo& tensor, std::uint64_t begin, std::uint64_t end) const override {
    const HfSource* source = locate(tensor);
    if (source == nullptr) return;
    end = std::min(end, source->tensor.bytes);
    if (begin < end) files_[source->file]->release(source->tensor.offset + begin, end - begin);
  }

 private:
  const HfSource* locate(const TensorInfo& tensor) const {
    const TensorInfo* first = tensors_.infos.data();
    const TensorInfo* mine = &tensor;
    if (mine < first || mine >= first + tensors_.infos.size()) mine = find(tensor.name);
    if (!mine || mine->bytes != tensor.bytes) return nullptr;
    return &tensors_.sources[static_cast<std::size_t>(mine - first)];
  }

  std::string path_;
  Metadata metadata_;
  HfTensors tensors_;
  std::vector<std::shared_ptr<const MappedFile>> files_;
};

std::vector<std::string> names_in(const std::string& folder) {
  auto names = list_folder(folder);
  return names ? std::move(*names) : std::vector<std::string>();
}

bool has_ending(const std::vector<std::string>& names, std::string_view ending, std::string& which) {
  for (const std::string& name : names)
    if (name.ends_with(ending)) {
      which = name;
      return true;
    }
  return false;
}

// Why a folder is no model that can be opened, from what lies in it.
tl::unexpected<Error> no_weights(const std::string& folder) {
  const auto names = names_in(folder);
  std::string which;
  if (has_ending(names, ".gguf", which))
    return fail(ErrorCode::kUnsupported, "the folder holds GGUF files, not a Hugging Face model",
                "Give the file: " + folder + "/" + which, folder);
  for (std::string_view ending : {".bin", ".pt", ".pth", ".ckpt"})
    if (has_ending(names, ending, which))
      return fail(ErrorCode::kUnsupported, "the weights are PyTorch pickles (" + printable(which) + ")",
                  "Pickle files can run code when they are opened, so Kinglet never reads them: take the model's "
                  "safetensors or GGUF version.",
                  folder);
  return fail(ErrorCode::kCorrupt, "expected a model, found a folder without model.safetensors",
              "A Hugging Face model has config.json, model.safetensors (or shards with an index) and tokenizer.json.",
              folder);
}

struct Weights {
  std::vector<std::shared_ptr<const MappedFile>> files;
  std::vector<SafetensorsDirectory> directories;
};

Result<void> add_file(const std::string& path, Weights& weights) {
  KINGLET_TRY(auto file, MappedFile::open(path));
  KINGLET_TRY(auto directory, parse_safetensors(file->bytes(), path));
  weights.files.push_back(std::move(file));
  weights.directories.push_back(std::move(directory));
  return {};
}

// The files must hold exactly what the index says.
Result<void> check_index(const ShardIndex& index, const Weights& weights, const std::string& place) {
  constexpr std::string_view kHint = "The files of a split model must come from one download: fetch all of them again.";
  std::map<std::string_view, std::size_t> actual;
  for (std::size_t file = 0; file < weights.directories.size(); ++file)
    for (const SafetensorsTensor& tensor : weights.directories[file].tensors)
      if (!actual.try_emplace(tensor.name, file).second)
        return fail(ErrorCode::kCorrupt, "tensor '" + printable(tensor.name) + "' stands in two files of the model",
                    std::string(kHint), weights.files[file]->path());
  for (const auto& [name, file] : index.tensors) {
    const auto found = actual.find(name);
    if (found == actual.end() || found->second != file)
      return fail(
          ErrorCode::kCorrupt,
          "tensor '" + printable(name) + "' is not in " + printable(index.files[file]) + ", where the index has it",
          std::string(kHint), place);
  }
  if (actual.size() != index.tensors.size())
    return fail(ErrorCode::kCorrupt,
                "the files hold " + std::to_string(actual.size()) + " tensors, the index names " +
                    std::to_string(index.tensors.size()),
                std::string(kHint), place);
  return {};
}

Result<Weights> open_shards(const std::string& folder, const std::string& index_name) {
  const std::string place = folder + "/" + index_name;
  KINGLET_TRY(const std::string text, read_file(place, limits::kShardIndexBytes));
  KINGLET_TRY(const ShardIndex index, parse_shard_index(text, place));
  Weights weights;
  for (const std::string& name : index.files) {
    if (auto ok = add_file(folder + "/" + name, weights); !ok) {
      Error error = std::move(ok).error();
      if (error.code == ErrorCode::kNotFound)
        error.hint = "The model is split in " + std::to_string(index.files.size()) + " files; this one is missing.";
      return tl::unexpected(std::move(error));
    }
  }
  KINGLET_CHECK(check_index(index, weights, place));
  return weights;
}

Result<Weights> open_weights(const std::string& folder, const std::string& file_name) {
  Weights weights;
  if (!file_name.empty() && file_name.ends_with(".json")) return open_shards(folder, file_name);
  if (!file_name.empty()) {
    if (file_name != kSingle && file_name.find("-of-") != std::string::npos &&
        file_exists(folder + "/" + std::string(kIndex)))
      return open_shards(folder, std::string(kIndex));
    KINGLET_CHECK(add_file(folder + "/" + file_name, weights));
    return weights;
  }
  if (file_exists(folder + "/" + std::string(kSingle))) {
    KINGLET_CHECK(add_file(folder + "/" + std::string(kSingle), weights));
    return weights;
  }
  if (file_exists(folder + "/" + std::string(kIndex))) return open_shards(folder, std::string(kIndex));
  std::vector<std::string> single;
  for (const std::string& name : names_in(folder))
    if (name.ends_with(".safetensors")) single.push_back(name);
  if (single.size() > 1)
    return fail(ErrorCode::kCorrupt,
                "the folder has " + std::to_string(single.size()) + " safetensors files and no " + std::string(kIndex),
                "Fetch the index file too.", folder);
  if (single.empty()) return no_weights(folder);
  KINGLET_CHECK(add_file(folder + "/" + single.front(), weights));
  return weights;
}

Result<Json> read_config(const std::string& folder, const Weights* weights, std::string& text) {
  const std::string path = folder + "/config.json";
  if (!file_exists(path)) {
    if (!weights) return no_weights(folder);
    return fail(ErrorCode::kNotFound, "there is no config.json beside the weights",
                "A safetensors file holds weights only: put config.json and tokenizer.json of the model beside it.",
                path);
  }
  KINGLET_TRY(text, read_file(path, limits::kConfigBytes));
  return parse_json(text, path, {.max_bytes = limits::kConfigBytes});
}

}  // namespace

Result<std::unique_ptr<Checkpoint>> open_hugging_face(const std::string& path) {
  std::string folder = path, file;
  if (!folder_exists(path)) {
    const auto slash = path.rfind('/');
    folder = slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
    file = slash == std::string::npos ? path : path.substr(slash + 1);
  }
  while (folder.size() > 1 && folder.back() == '/') folder.pop_back();
  KINGLET_TRY(Weights weights, open_weights(folder, file));
  std::string text;
  KINGLET_TRY(const Json config, read_config(folder, &weights, text));
  KINGLET_TRY(const Metadata flat, flatten_config(config, folder + "/config.json"));
  KINGLET_TRY(const Architecture* architecture, architecture_of(config, folder));
  auto metadata = import_config(*architecture, flat, folder);
  if (!metadata) {
    Error error = std::move(metadata).error();
    if (error.place.empty()) error.place = folder + "/config.json";
    return tl::unexpected(std::move(error));
  }
  metadata->set_string(kHfConfigKey, text);
  KINGLET_CHECK(import_side_files(folder, *architecture, flat, *metadata));
  KINGLET_TRY(HfTensors tensors, map_tensors(*architecture, *metadata, flat, weights.directories, folder));
  return std::make_unique<HfCheckpoint>(path, std::move(*metadata), std::move(tensors), std::move(weights.files));
}

}  // namespace kinglet
