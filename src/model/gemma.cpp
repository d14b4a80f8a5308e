#include "model/gemma.h"

#include <cmath>

#include "base/try.h"
#include "model/configure.h"

namespace kinglet::gemma {
namespace {

// GGUF stores norms with 1 added.
constexpr HfName kNames[] = {
    {"model.embed_tokens.weight", "token_embd.weight"},
    {"model.norm.weight", "output_norm.weight", HfTransform::kAddOne},
    {"lm_head.weight", "output.weight"},
    {"model.layers.{}.input_layernorm.weight", "blk.{}.attn_norm.weight", HfTransform::kAddOne},
    {"model.layers.{}.post_attention_layernorm.weight", "blk.{}.post_attention_norm.weight", HfTransform::kAddOne},
    {"model.layers.{}.pre_feedforward_layernorm.weight", "blk.{}.ffn_norm.weight", HfTransform::kAddOne},
    {"model.layers.{}.post_feedforward_layernorm.weight", "blk.{}.post_ffw_norm.weight", HfTransform::kAddOne},
    {"model.layers.{}.self_attn.q_proj.weight", "blk.{}.attn_q.weight"},
    {"model.layers.{}.self_attn.k_proj.weight", "blk.{}.attn_k.weight"},
    {"model.layers.{}.self_attn.v_proj.weight", "blk.{}.attn_v.weight"},
    {"model.layers.{}.self_attn.o_proj.weight", "blk.{}.attn_output.weight"},
    {"model.layers.{}.self_attn.q_norm.weight", "blk.{}.attn_q_norm.weight", HfTransform::kAddOne},
    {"model.layers.{}.self_attn.k_norm.weight", "blk.{}.attn_k_norm.weight", HfTransform::kAddOne},
    {"model.layers.{}.mlp.gate_proj.weight", "blk.{}.ffn_gate.weight"},
    {"model.layers.{}.mlp.up_proj.weight", "blk.{}.ffn_up.weight"},
    {"model.layers.{}.mlp.down_proj.weight", "blk.{}.ffn_down.weight"},
};

}  // namespace

std::span<const HfName> hf_names() { return kNames; }

Result<ModelConfig> configure(const Metadata& metadata, std::string_view architecture) {
  KINGLET_TRY(ModelConfig config, configure_common(metadata, architecture));
  config.rope = RopeKind::kHalves;
  config.activation = Activation::kGeluTanh;
  config.sandwich_norm = true;
  // The reference rounds the factor to the type of the embedding (bf16); GGUF engines use the exact root.
  config.embedding_scale = std::sqrt(double(config.width));
  KINGLET_TRY(config.attention_softcap, metadata.number_or(key_of(architecture, "attn_logit_softcapping"), 0, 0, 1e6));
  KINGLET_TRY(config.logit_softcap, metadata.number_or(key_of(architecture, "final_logit_softcapping"), 0, 0, 1e6));
  return config;
}

void slide(ModelConfig& config, std::int64_t window, std::int64_t period) {
  for (std::size_t i = 0; i < config.per_layer.size(); ++i) {
    if (period == 0 || (std::int64_t(i) + 1) % period != 0) config.per_layer[i].sliding_window = window;
  }
}

Result<void> import_hf(const Metadata& config, Metadata& gguf, std::string_view architecture) {
  copy_number(config, "sliding_window", gguf, key_of(architecture, "attention.sliding_window"));
  copy_number(config, "attn_logit_softcapping", gguf, key_of(architecture, "attn_logit_softcapping"));
  copy_number(config, "final_logit_softcapping", gguf, key_of(architecture, "final_logit_softcapping"));
  if (config.contains("query_pre_attn_scalar")) {
    KINGLET_TRY(double scalar, config.number("query_pre_attn_scalar", 1e-6, 1e9));
    gguf.set_number(key_of(architecture, "attention.scale"), 1 / std::sqrt(scalar));
  }
  return import_rope_scaling(config, gguf, architecture);
}

}  // namespace kinglet::gemma
