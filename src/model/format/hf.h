// A Hugging Face directory in the words of GGUF: the parts behind open_hugging_face().
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "kinglet/architecture.h"
#include "kinglet/checkpoint.h"
#include "kinglet/metadata.h"
#include "kinglet/result.h"
#include "model/format/safetensors.h"

namespace kinglet {

/// Keys under which a checkpoint keeps what GGUF has no words for, so that it can be written back.
inline constexpr std::string_view kHfConfigKey = "kinglet.huggingface.config.json";
inline constexpr std::string_view kHfGenerationKey = "kinglet.huggingface.generation_config.json";
inline constexpr std::string_view kHfTokenizerKey = "tokenizer.huggingface.json";
inline constexpr std::string_view kHfTokenizerConfigKey = "tokenizer.huggingface.config.json";

/// Before the class in config.json ("KingletLlamaForCausalLM") where other readers would take the model for an ordinary
/// one: matrices as factors, shared layers. What says so stands in config.json under "kinglet", as in GGUF's metadata.
inline constexpr std::string_view kHfOwnPrefix = "Kinglet";

/// config.json as flat keys: nested objects joined with dots, a text_config merged over the top level, and the ways to
/// say the same thing made one (rope_parameters -> rope_theta and rope_scaling.*, layer_types ->
/// sliding_window_pattern, dtype -> torch_dtype). Null values are left out.
Result<Metadata> flatten_config(const nlohmann::ordered_json& config, std::string_view place);

/// The architecture that config.json asks for. kUnsupported by name where there is none, or where the weights are
/// quantized in a way of their own (quantization_config).
Result<const Architecture*> architecture_of(const nlohmann::ordered_json& config, const std::string& folder);

/// Hyperparameters: hf_keys copied, the architecture's own import, its name, the model's name.
Result<Metadata> import_config(const Architecture& architecture, const Metadata& flat, std::string_view folder);

/// Tokenizer, chat template, generation defaults and pooling, from the other files of the folder.
Result<void> import_side_files(const std::string& folder, const Architecture& architecture, const Metadata& flat,
                               Metadata& gguf);

/// Where a tensor of ours comes from.
struct HfSource {
  std::size_t file = 0;
  SafetensorsTensor tensor;
  HfTransform transform = HfTransform::kNone;
  std::int64_t heads = 0;  ///< for kPermute*
};

/// Finds GGUF's name of `hf_name`. Empty: the tensor is not used. kUnsupported where the architecture does not know it.
struct HfMatch {
  std::string gguf;
  HfTransform transform = HfTransform::kNone;
  std::int64_t layer = -1;
};
Result<HfMatch> match_hf_name(const Architecture& architecture, std::string_view hf_name, bool multimodal);
/// The reverse: the name in `hf_names` for a GGUF name; empty where there is none.
HfMatch match_gguf_name(const Architecture& architecture, std::string_view gguf_name);

/// Tensor directory of a checkpoint from the files' directories.
struct HfTensors {
  std::vector<TensorInfo> infos;
  std::vector<HfSource> sources;
};
Result<HfTensors> map_tensors(const Architecture& architecture, const Metadata& gguf, const Metadata& flat,
                              std::vector<SafetensorsDirectory>& files, std::string_view folder);

/// Rows of rotary heads from half-splits (Hugging Face) to neighbouring pairs (GGUF), or back.
void permute_heads(std::span<const std::byte> from, std::span<std::byte> to, std::int64_t rows, std::int64_t heads,
                   bool back);

}  // namespace kinglet
