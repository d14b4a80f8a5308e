// Gemma 3 (Gemma Team 2025), text: five sliding layers then one full, with two RoPE bases, and norms on query and key.
#include <cmath>

#include "base/try.h"
#include "kinglet/architecture.h"
#include "model/configure.h"
#include "model/gemma.h"
#include "model/hf_names.h"

namespace kinglet {
namespace {

constexpr std::string_view kClasses[] = {"Gemma3ForCausalLM", "Gemma3ForConditionalGeneration"};

Result<void> import_hf(const Metadata& config, Metadata& gguf) {
  copy_number(config, "rope_local_base_freq", gguf, "gemma3.rope.freq_base_swa");
  copy_number(config, "sliding_window_pattern", gguf, "gemma3.attention.sliding_window_pattern");
  if (!config.contains("rope_theta")) gguf.set_number("gemma3.rope.freq_base", 1e6);
  return gemma::import_hf(config, gguf, "gemma3");
}

/// Which layers slide: absent (five of six), a period, or a flag for each layer.
Result<void> read_pattern(const Metadata& metadata, std::int64_t window, ModelConfig& config) {
  constexpr std::string_view kKey = "gemma3.attention.sliding_window_pattern";
  const MetadataValue* pattern = metadata.find(kKey);
  if (pattern == nullptr || !pattern->is_array) {
    KINGLET_TRY(std::int64_t period, metadata.integer_or(kKey, 6, 0, 1 << 20));
    gemma::slide(config, window, period);
    return {};
  }
  KINGLET_TRY(const std::vector<std::int64_t>* flags, metadata.integers(kKey));
  if (flags->size() != config.per_layer.size()) {
    return fail(ErrorCode::kCorrupt, std::string(kKey) + " has " + std::to_string(flags->size()) + " values for " +
                                         std::to_string(config.layers) + " layers");
  }
  for (std::size_t i = 0; i < flags->size(); ++i) config.per_layer[i].sliding_window = (*flags)[i] != 0 ? window : 0;
  return {};
}

Result<ModelConfig> configure(const Metadata& metadata) {
  KINGLET_TRY(ModelConfig config, gemma::configure(metadata, "gemma3"));
  config.qk_norm = true;
  KINGLET_TRY(std::int64_t window, metadata.integer_or("gemma3.attention.sliding_window", 0, 0, 1 << 30));
  KINGLET_CHECK(read_pattern(metadata, window, config));
  // The base of sliding layers is often implicit, and spelled in two ways.
  KINGLET_TRY(double local, metadata.number_or("gemma3.rope.local.freq_base", 10000, 1e-3, 1e12));
  KINGLET_TRY(local, metadata.number_or("gemma3.rope.freq_base_swa", local, 1e-3, 1e12));
  const bool has_base = metadata.contains("gemma3.rope.freq_base");
  for (LayerConfig& layer : config.per_layer) {
    if (layer.sliding_window > 0) {
      layer.rope_base = local;
      layer.rope_scale = 1;  // linear scaling is for the full layers only
    } else if (!has_base) {
      layer.rope_base = 1e6;
    }
  }
  if (config.layers == 62 && !metadata.contains("gemma3.attention.scale")) {  // 27B
    config.attention_scale = 1 / std::sqrt(double(config.width) / double(config.per_layer.front().heads));
  }
  return config;
}

}  // namespace

extern const Architecture architecture_gemma3 = {
    .name = "gemma3",
    .help = "Gemma 3 (text)",
    .hf_classes = kClasses,
    .hf_names = gemma::hf_names(),
    .hf_keys = hf::kDecoderKeys,
    .import_hf = import_hf,
    .configure = configure,
};

}  // namespace kinglet
