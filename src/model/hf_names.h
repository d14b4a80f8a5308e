// Names that decoder architectures share in Hugging Face files.
#pragma once

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

}  // namespace kinglet::hf
