#include "kinglet/checkpoint.h"

#include "base/file.h"
#include "base/try.h"
#include "model/format/gguf.h"
#include "model/format/safetensors.h"
#include "model/format/validate.h"

namespace kinglet {

std::int64_t TensorInfo::rows() const {
  std::int64_t product = 1;
  for (std::size_t i = 0; i + 1 < shape.size(); ++i) product *= shape[i];
  return product;
}

const TensorInfo* Checkpoint::find(std::string_view name) const {
  for (const TensorInfo& tensor : tensors())
    if (tensor.name == name) return &tensor;
  return nullptr;
}

Result<TensorData> Checkpoint::stored(const TensorInfo& tensor) const {
  return fail(ErrorCode::kUnsupported, "the coded bytes of " + tensor.name + " are not at hand");
}

std::string Checkpoint::architecture() const {
  auto name = metadata().string_or("general.architecture", "");
  return name ? *name : "";
}

namespace {

Result<std::unique_ptr<Checkpoint>> open_by_kind(const std::string& path) {
  if (path.empty()) return fail(ErrorCode::kInvalidArgument, "the model's path is empty", "Give a file or a folder.");
  KINGLET_CHECK(check_file_or_folder(path));
  if (folder_exists(path) || path.ends_with(".safetensors") || path.ends_with(".safetensors.index.json"))
    return open_hugging_face(path);
  for (std::string_view ending : {".bin", ".pt", ".pth", ".ckpt", ".pkl"})
    if (path.ends_with(ending)) {
      // Many things are called .bin: the content decides, and a file that is no GGUF is refused by its ending.
      KINGLET_TRY(auto file, MappedFile::open(path));
      const auto bytes = file->bytes();
      if (bytes.size() < 4 || std::string_view(reinterpret_cast<const char*>(bytes.data()), 4) != kGgufMagic)
        return fail(ErrorCode::kUnsupported, "this is a PyTorch pickle file (" + std::string(ending) + ")",
                    "Pickle files can run code when they are opened, so Kinglet never reads them: take the model's "
                    "safetensors or GGUF version.",
                    path + ", byte 0");
    }
  return open_gguf(path);
}

}  // namespace

Result<std::unique_ptr<Checkpoint>> open_checkpoint(const std::string& path) {
  auto opened = open_by_kind(path);
  if (opened || !opened.error().hint.empty()) return opened;
  Error error = std::move(opened).error();
  error.hint = error.code == ErrorCode::kNotFound ? "Check the path; kinglet list shows the models on this machine."
                                                  : "Give a GGUF file, a safetensors file or a Hugging Face folder.";
  return tl::unexpected(std::move(error));
}

}  // namespace kinglet
