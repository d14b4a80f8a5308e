// Llama 1-3, SmolLM2, TinyLlama, and Mistral (Touvron et al. 2023; Jiang et al. 2023).
#include "base/try.h"
#include "kinglet/architecture.h"
#include "model/configure.h"
#include "model/hf_names.h"

namespace kinglet {
namespace {

constexpr std::string_view kClasses[] = {"LlamaForCausalLM", "MistralForCausalLM"};

// GGUF rotates neighbouring pairs, Hugging Face half-splits: the rows of Q and K are permuted.
constexpr HfName kNames[] = {
    {"model.embed_tokens.weight", "token_embd.weight"},
    {"model.norm.weight", "output_norm.weight"},
    {"lm_head.weight", "output.weight"},
    {"model.layers.{}.input_layernorm.weight", "blk.{}.attn_norm.weight"},
    {"model.layers.{}.post_attention_layernorm.weight", "blk.{}.ffn_norm.weight"},
    {"model.layers.{}.self_attn.q_proj.weight", "blk.{}.attn_q.weight", HfTransform::kPermuteHeads},
    {"model.layers.{}.self_attn.k_proj.weight", "blk.{}.attn_k.weight", HfTransform::kPermuteKvHeads},
    {"model.layers.{}.self_attn.v_proj.weight", "blk.{}.attn_v.weight"},
    {"model.layers.{}.self_attn.o_proj.weight", "blk.{}.attn_output.weight"},
    {"model.layers.{}.self_attn.q_proj.bias", "blk.{}.attn_q.bias", HfTransform::kPermuteHeads},
    {"model.layers.{}.self_attn.k_proj.bias", "blk.{}.attn_k.bias", HfTransform::kPermuteKvHeads},
    {"model.layers.{}.self_attn.v_proj.bias", "blk.{}.attn_v.bias"},
    {"model.layers.{}.self_attn.o_proj.bias", "blk.{}.attn_output.bias"},
    {"model.layers.{}.mlp.gate_proj.weight", "blk.{}.ffn_gate.weight"},
    {"model.layers.{}.mlp.up_proj.weight", "blk.{}.ffn_up.weight"},
    {"model.layers.{}.mlp.down_proj.weight", "blk.{}.ffn_down.weight"},
    {"model.layers.{}.mlp.gate_proj.bias", "blk.{}.ffn_gate.bias"},
    {"model.layers.{}.mlp.up_proj.bias", "blk.{}.ffn_up.bias"},
    {"model.layers.{}.mlp.down_proj.bias", "blk.{}.ffn_down.bias"},
    {"model.layers.{}.self_attn.rotary_emb.inv_freq", ""},
};

Result<void> import_hf(const Metadata& config, Metadata& gguf) {
  copy_number(config, "sliding_window", gguf, "llama.attention.sliding_window");  // Mistral 7B v0.1
  return import_rope_scaling(config, gguf, "llama");
}

Result<ModelConfig> configure(const Metadata& metadata) {
  KINGLET_TRY(ModelConfig config, configure_common(metadata, "llama"));
  KINGLET_TRY(std::int64_t window, metadata.integer_or("llama.attention.sliding_window", 0, 0, std::int64_t{1} << 40));
  for (LayerConfig& layer : config.per_layer) layer.sliding_window = window;
  KINGLET_TRY(std::int64_t experts, metadata.integer_or("llama.expert_count", 0, 0, 1 << 20));
  if (experts > 0) return fail(ErrorCode::kUnsupported, "mixture-of-experts llama models are not supported");
  return config;
}

}  // namespace

extern const Architecture architecture_llama = {
    .name = "llama",
    .help = "Llama 1-3, SmolLM2, Mistral",
    .hf_classes = kClasses,
    .hf_names = kNames,
    .hf_keys = hf::kDecoderKeys,
    .import_hf = import_hf,
    .configure = configure,
};

}  // namespace kinglet
