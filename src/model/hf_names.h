// Names that decoder architectures share in Hugging Face files.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <iterator>

#include "kinglet/architecture.h"

namespace kinglet::hf {

inline constexpr HfKey kDecoderKeys[] = {
    {"num_hidden_layers", "A.block_count"},
    {"hidden_size", "A.embedding_length"},
    {"intermediate_size", "A.feed_forward_length"},
    {"num_attention_heads", "A.attention.head_count"},
    {"num_key_value_heads", "A.attention.head_count_kv"},
    {"head_dim", "A.attention.key_length"},
    {"head_dim", "A.attention.value_length"},
    {"rms_norm_eps", "A.attention.layer_norm_rms_epsilon"},
    {"max_position_embeddings", "A.context_length"},
    {"rope_theta", "A.rope.freq_base"},
    {"vocab_size", "A.vocab_size"},
};

/// The weights of a decoder with half-split RoPE and a gated feed-forward block, whose names are Llama's.
inline constexpr HfName kDecoderNames[] = {
    {"model.embed_tokens.weight", "token_embd.weight"},
    {"model.norm.weight", "output_norm.weight"},
    {"lm_head.weight", "output.weight"},
    {"model.layers.{}.input_layernorm.weight", "blk.{}.attn_norm.weight"},
    {"model.layers.{}.post_attention_layernorm.weight", "blk.{}.ffn_norm.weight"},
    {"model.layers.{}.self_attn.q_proj.weight", "blk.{}.attn_q.weight"},
    {"model.layers.{}.self_attn.k_proj.weight", "blk.{}.attn_k.weight"},
    {"model.layers.{}.self_attn.v_proj.weight", "blk.{}.attn_v.weight"},
    {"model.layers.{}.self_attn.o_proj.weight", "blk.{}.attn_output.weight"},
    {"model.layers.{}.mlp.gate_proj.weight", "blk.{}.ffn_gate.weight"},
    {"model.layers.{}.mlp.up_proj.weight", "blk.{}.ffn_up.weight"},
    {"model.layers.{}.mlp.down_proj.weight", "blk.{}.ffn_down.weight"},
};

/// kDecoderNames and what an architecture has beside them.
template <std::size_t kMore>
constexpr auto decoder_names_and(const HfName (&more)[kMore]) {
  std::array<HfName, std::size(kDecoderNames) + kMore> names;
  std::copy(more, more + kMore, std::copy(std::begin(kDecoderNames), std::end(kDecoderNames), names.begin()));
  return names;
}

}  // namespace kinglet::hf
