// Qwen 3, dense (Yang et al. 2025): Qwen 2 without biases, with an RMS norm on each query and key head.
#include "base/try.h"
#include "kinglet/architecture.h"
#include "model/configure.h"
#include "model/hf_names.h"

namespace kinglet {
namespace {

constexpr std::string_view kClasses[] = {"Qwen3ForCausalLM"};

constexpr auto kNames = hf::decoder_names_and({
    {"model.layers.{}.self_attn.q_norm.weight", "blk.{}.attn_q_norm.weight"},
    {"model.layers.{}.self_attn.k_norm.weight", "blk.{}.attn_k_norm.weight"},
});

Result<void> import_hf(const Metadata& config, Metadata& gguf) { return import_rope_scaling(config, gguf, "qwen3"); }

Result<ModelConfig> configure(const Metadata& metadata) {
  KINGLET_TRY(ModelConfig config, configure_common(metadata, "qwen3"));
  config.rope = RopeKind::kHalves;
  config.qk_norm = true;
  return config;
}

}  // namespace

extern const Architecture architecture_qwen3 = {
    .name = "qwen3",
    .help = "Qwen 3 (dense)",
    .hf_classes = kClasses,
    .hf_names = kNames,
    .hf_keys = hf::kDecoderKeys,
    .import_hf = import_hf,
    .configure = configure,
};

}  // namespace kinglet
