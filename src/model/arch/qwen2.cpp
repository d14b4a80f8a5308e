// Qwen 2 and 2.5 (Yang et al. 2024): half-split RoPE, biases on Q, K and V.
#include "base/try.h"
#include "kinglet/architecture.h"
#include "model/configure.h"
#include "model/hf_names.h"

namespace kinglet {
namespace {

constexpr std::string_view kClasses[] = {"Qwen2ForCausalLM"};

constexpr auto kNames = hf::decoder_names_and({
    {"model.layers.{}.self_attn.q_proj.bias", "blk.{}.attn_q.bias"},
    {"model.layers.{}.self_attn.k_proj.bias", "blk.{}.attn_k.bias"},
    {"model.layers.{}.self_attn.v_proj.bias", "blk.{}.attn_v.bias"},
});

Result<void> import_hf(const Metadata& config, Metadata& gguf) {
  KINGLET_TRY(bool sliding, config.flag_or("use_sliding_window", false));
  if (sliding) {
    return fail(ErrorCode::kUnsupported, "Qwen2 with use_sliding_window is not supported",
                "No published Qwen2 model sets it.");
  }
  return import_rope_scaling(config, gguf, "qwen2");
}

Result<ModelConfig> configure(const Metadata& metadata) {
  KINGLET_TRY(ModelConfig config, configure_common(metadata, "qwen2"));
  config.rope = RopeKind::kHalves;
  return config;
}

}  // namespace

extern const Architecture architecture_qwen2 = {
    .name = "qwen2",
    .help = "Qwen 2 and 2.5",
    .hf_classes = kClasses,
    .hf_names = kNames,
    .hf_keys = hf::kDecoderKeys,
    .import_hf = import_hf,
    .configure = configure,
};

}  // namespace kinglet
