// Gemma 2 (Gemma Team 2024): alternating sliding layers, soft caps on attention scores and logits.
#include <cmath>

#include "base/try.h"
#include "kinglet/architecture.h"
#include "model/configure.h"
#include "model/gemma.h"
#include "model/hf_names.h"

namespace kinglet {
namespace {

constexpr std::string_view kClasses[] = {"Gemma2ForCausalLM"};

Result<void> import_hf(const Metadata& config, Metadata& gguf) { return gemma::import_hf(config, gguf, "gemma2"); }

Result<ModelConfig> configure(const Metadata& metadata) {
  KINGLET_TRY(ModelConfig config, gemma::configure(metadata, "gemma2"));
  KINGLET_TRY(std::int64_t window, metadata.integer_or("gemma2.attention.sliding_window", 4096, 0, 1 << 30));
  gemma::slide(config, window, 2);
  // The 27B model scales by width / heads; GGUF files do not say so.
  if (config.layers == 46 && !metadata.contains("gemma2.attention.scale")) {
    config.attention_scale = 1 / std::sqrt(double(config.width) / double(config.per_layer.front().heads));
  }
  return config;
}

}  // namespace

extern const Architecture architecture_gemma2 = {
    .name = "gemma2",
    .help = "Gemma 2",
    .hf_classes = kClasses,
    .hf_names = gemma::hf_names(),
    .hf_keys = hf::kDecoderKeys,
    .import_hf = import_hf,
    .configure = configure,
};

}  // namespace kinglet
