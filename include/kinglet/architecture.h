// An architecture is a descriptor: hyperparameters and which shared blocks a layer is made of. The forward pass
// (src/engine/forward.cpp) is one for all of them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kinglet/metadata.h"
#include "kinglet/result.h"

namespace kinglet {

enum class NormKind { kRms, kLayer };
enum class Activation { kSilu, kGeluTanh, kGelu };
enum class RopeKind { kNone, kPairs, kHalves };  ///< neighbouring pairs (llama GGUF), or half-splits (NEOX)

/// Per layer, what differs between layers.
struct LayerConfig {
  std::int64_t sliding_window = 0;  ///< a query sees the last `sliding_window` positions, itself included; 0: all
  double rope_base = 10000;
  double rope_scale = 1;  ///< positions are multiplied by it (linear scaling: 1 / factor)
  std::int64_t heads = 0, kv_heads = 0, feed_forward = 0;
};

/// Hyperparameters in the words of GGUF. All sizes are validated: positive, dividing, below base/limits.h.
struct ModelConfig {
  std::string architecture;
  std::int64_t vocabulary = 0, width = 0, layers = 0, context = 0;
  std::int64_t key_length = 0, value_length = 0;  ///< per head
  std::int64_t rope_dimensions = 0;
  RopeKind rope = RopeKind::kPairs;
  NormKind norm = NormKind::kRms;
  double norm_epsilon = 1e-5;
  Activation activation = Activation::kSilu;
  bool gated = true;  ///< act(gate) * up; otherwise act(up)
  bool causal = true;
  bool post_norm = false;      ///< BERT: normalise after the residual sum, and not before
  bool sandwich_norm = false;  ///< Gemma: also normalise what attention and feed-forward give, before the sum
  bool qk_norm = false;        ///< RMS norm of each head's query and key before RoPE
  bool position_embedding = false, token_type_embedding = false, embedding_norm = false;
  double embedding_scale = 1;  ///< Gemma: sqrt(width)
  double attention_scale = 0;  ///< 1/sqrt(key_length) unless the model says otherwise
  double attention_softcap = 0, logit_softcap = 0;
  std::string pooling;  ///< "", "mean", "cls", "last": how an embedding model pools
  std::vector<LayerConfig> per_layer;
  /// Whose matrices each layer multiplies with (kinglet/layer_map.h); empty: each its own.
  std::vector<int> layer_owner;
  int owner(int layer) const { return layer_owner.empty() ? layer : layer_owner[std::size_t(layer)]; }
  std::vector<float> rope_factors;  ///< divides each frequency (llama 3's rope_freqs.weight), may be empty
};

/// How a Hugging Face tensor becomes a GGUF one.
enum class HfTransform { kNone, kPermuteHeads, kPermuteKvHeads, kAddOne };
struct HfName {
  std::string_view hf;    ///< "model.layers.{}.self_attn.q_proj.weight"; {} is the layer
  std::string_view gguf;  ///< "blk.{}.attn_q.weight"
  HfTransform transform = HfTransform::kNone;
};
/// How a key of config.json becomes a GGUF key (A. is the architecture's prefix).
struct HfKey {
  std::string_view hf;    ///< "num_hidden_layers"
  std::string_view gguf;  ///< "A.block_count"
};

/// Registered by its file in src/model/arch.
struct Architecture {
  std::string_view name;  ///< general.architecture
  std::string_view help;
  std::span<const std::string_view> hf_classes;  ///< "LlamaForCausalLM", "MistralForCausalLM"
  std::span<const HfName> hf_names;
  std::span<const HfKey> hf_keys;
  /// What config.json leaves implicit and what needs arithmetic; called after hf_keys were copied. May be null.
  Result<void> (*import_hf)(const Metadata& flat_config, Metadata& gguf) = nullptr;
  Result<ModelConfig> (*configure)(const Metadata& metadata) = nullptr;
};
std::span<const Architecture* const> architectures();
const Architecture* find_architecture(std::string_view name);
const Architecture* find_architecture_of_hf_class(std::string_view name);

}  // namespace kinglet
