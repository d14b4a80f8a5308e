// BERT encoders for embeddings (Devlin et al. 2019; Sentence-BERT pooling, Reimers and Gurevych 2019).
#include "base/try.h"
#include "kinglet/architecture.h"
#include "model/configure.h"

namespace kinglet {
namespace {

constexpr std::string_view kClasses[] = {"BertModel", "BertForMaskedLM"};

#define KINGLET_BERT_NAMES(prefix)                                                                          \
  {prefix "embeddings.word_embeddings.weight", "token_embd.weight"},                                        \
      {prefix "embeddings.position_embeddings.weight", "position_embd.weight"},                             \
      {prefix "embeddings.token_type_embeddings.weight", "token_types.weight"},                             \
      {prefix "embeddings.LayerNorm.weight", "token_embd_norm.weight"},                                     \
      {prefix "embeddings.LayerNorm.bias", "token_embd_norm.bias"}, {prefix "embeddings.position_ids", ""}, \
      {prefix "encoder.layer.{}.attention.self.query.weight", "blk.{}.attn_q.weight"},                      \
      {prefix "encoder.layer.{}.attention.self.query.bias", "blk.{}.attn_q.bias"},                          \
      {prefix "encoder.layer.{}.attention.self.key.weight", "blk.{}.attn_k.weight"},                        \
      {prefix "encoder.layer.{}.attention.self.key.bias", "blk.{}.attn_k.bias"},                            \
      {prefix "encoder.layer.{}.attention.self.value.weight", "blk.{}.attn_v.weight"},                      \
      {prefix "encoder.layer.{}.attention.self.value.bias", "blk.{}.attn_v.bias"},                          \
      {prefix "encoder.layer.{}.attention.output.dense.weight", "blk.{}.attn_output.weight"},               \
      {prefix "encoder.layer.{}.attention.output.dense.bias", "blk.{}.attn_output.bias"},                   \
      {prefix "encoder.layer.{}.attention.output.LayerNorm.weight", "blk.{}.attn_output_norm.weight"},      \
      {prefix "encoder.layer.{}.attention.output.LayerNorm.bias", "blk.{}.attn_output_norm.bias"},          \
      {prefix "encoder.layer.{}.intermediate.dense.weight", "blk.{}.ffn_up.weight"},                        \
      {prefix "encoder.layer.{}.intermediate.dense.bias", "blk.{}.ffn_up.bias"},                            \
      {prefix "encoder.layer.{}.output.dense.weight", "blk.{}.ffn_down.weight"},                            \
      {prefix "encoder.layer.{}.output.dense.bias", "blk.{}.ffn_down.bias"},                                \
      {prefix "encoder.layer.{}.output.LayerNorm.weight", "blk.{}.layer_output_norm.weight"},               \
      {prefix "encoder.layer.{}.output.LayerNorm.bias", "blk.{}.layer_output_norm.bias"},                   \
      {prefix "pooler.dense.weight", ""}, {prefix "pooler.dense.bias", ""}

// Sentence-transformers files have no prefix, those of BertForMaskedLM have "bert.".
constexpr HfName kNames[] = {KINGLET_BERT_NAMES(""), KINGLET_BERT_NAMES("bert.")};
#undef KINGLET_BERT_NAMES

constexpr HfKey kKeys[] = {
    {"num_hidden_layers", "A.block_count"},
    {"hidden_size", "A.embedding_length"},
    {"intermediate_size", "A.feed_forward_length"},
    {"num_attention_heads", "A.attention.head_count"},
    {"layer_norm_eps", "A.attention.layer_norm_epsilon"},
    {"max_position_embeddings", "A.context_length"},
    {"vocab_size", "A.vocab_size"},
};

Result<void> import_hf(const Metadata& config, Metadata& gguf) {
  KINGLET_TRY(std::string activation, config.string_or("hidden_act", "gelu"));
  if (activation != "gelu") {
    return fail(ErrorCode::kUnsupported, "BERT with the activation '" + activation + "' is not supported");
  }
  gguf.set_flag("bert.attention.causal", false);
  return {};
}

Result<ModelConfig> configure(const Metadata& metadata) {
  KINGLET_TRY(ModelConfig config, configure_common(metadata, "bert"));
  KINGLET_TRY(config.norm_epsilon, metadata.number_or("bert.attention.layer_norm_epsilon", 1e-12, 0, 1));
  KINGLET_TRY(config.causal, metadata.flag_or("bert.attention.causal", false));
  config.rope = RopeKind::kNone;
  config.norm = NormKind::kLayer;
  config.activation = Activation::kGelu;
  config.gated = false;
  config.post_norm = true;
  config.position_embedding = true;
  config.token_type_embedding = true;
  config.embedding_norm = true;
  KINGLET_TRY(std::int64_t pooling, metadata.integer_or("bert.pooling_type", 1, 0, 3));
  constexpr std::string_view kPooling[] = {"", "mean", "cls", "last"};
  config.pooling = kPooling[pooling];
  return config;
}

}  // namespace

extern const Architecture architecture_bert = {
    .name = "bert",
    .help = "BERT encoders, for embeddings",
    .hf_classes = kClasses,
    .hf_names = kNames,
    .hf_keys = kKeys,
    .import_hf = import_hf,
    .configure = configure,
};

}  // namespace kinglet
