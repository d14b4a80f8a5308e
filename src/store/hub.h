// The Hugging Face hub's layout: what files a model has, and where they are.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/sha256.h"
#include "kinglet/result.h"

namespace kinglet {

/// hf:OWNER/NAME[:QUANT]
struct HubAddress {
  std::string repository;  ///< OWNER/NAME
  std::string quant;       ///< "" where none was named
};
Result<HubAddress> parse_hub_address(std::string_view text);

struct HubFile {
  std::string path;
  std::optional<std::uint64_t> bytes;
  std::optional<Digest> digest;  ///< of files that the hub keeps outside git (weights)
};

struct HubModel {
  std::string commit;   ///< what the revision is now; files are fetched from it
  std::string licence;  ///< "" where the model has none
  std::vector<HubFile> files;
};

/// HF_ENDPOINT or https://huggingface.co, without a slash at the end.
std::string hub_endpoint();
/// HF_TOKEN, or the file that the hub's own tools keep it in; "" for none. For the endpoint's origin only.
std::string hub_token();
/// Where a file of a model is.
std::string hub_file_url(std::string_view repository, std::string_view revision, std::string_view path);

/// Asks the hub for a model's files.
Result<HubModel> hub_model(const std::string& repository, const std::string& revision);

/// The files of `model` that Kinglet would load: one GGUF model (all its shards) or safetensors with what belongs to
/// them. Never code, never pickles. kInvalidArgument where `quant` does not choose one, kUnsupported where there is
/// none.
Result<std::vector<HubFile>> choose_hub_files(const HubModel& model, std::string_view quant,
                                              const std::string& repository);

/// True for the names that a safetensors model consists of, its own folder's and 1_Pooling/'s.
bool belongs_to_model(std::string_view path);

}  // namespace kinglet
