#include "engine/tiny_model_helper.h"

#include <cmath>
#include <random>
#include <vector>

namespace kinglet::test {
namespace {

class MemoryCheckpoint final : public Checkpoint {
 public:
  const Metadata& metadata() const override { return metadata_; }
  std::span<const TensorInfo> tensors() const override { return tensors_; }
  Result<TensorData> data(const TensorInfo& tensor) const override {
    for (std::size_t i = 0; i < tensors_.size(); ++i) {
      if (tensors_[i].name == tensor.name) return TensorData{*data_[i], data_[i]};
    }
    return fail(ErrorCode::kNotFound, tensor.name);
  }
  std::string_view format() const override { return "memory"; }
  std::string_view path() const override { return "tiny"; }
  std::uint64_t file_bytes() const override { return 1; }

  void add(const std::string& name, std::vector<std::int64_t> shape, const std::string& type, float scale, float mean) {
    TensorInfo info{.name = name, .type = find_block_type(type), .shape = std::move(shape)};
    std::vector<float> values(std::size_t(info.elements()));
    std::normal_distribution<float> normal(mean, scale);
    for (float& value : values) value = normal(random_);
    const std::size_t blocks = values.size() / std::size_t(info.type->block_values);
    auto bytes = std::make_shared<std::vector<std::byte>>(blocks * std::size_t(info.type->block_bytes));
    info.type->encode(values.data(), blocks, nullptr, bytes->data());
    info.bytes = bytes->size();
    tensors_.push_back(std::move(info));
    data_.push_back(std::move(bytes));
  }

  Metadata metadata_;
  std::mt19937_64 random_;

 private:
  std::vector<TensorInfo> tensors_;
  std::vector<std::shared_ptr<std::vector<std::byte>>> data_;
};

void set_hyperparameters(const TinyModelOptions& options, Metadata& metadata) {
  const std::string a = options.architecture + ".";
  metadata.set_string("general.architecture", options.architecture);
  metadata.set_integer(a + "block_count", options.layers);
  metadata.set_integer(a + "embedding_length", options.width);
  metadata.set_integer(a + "feed_forward_length", options.feed_forward);
  metadata.set_integer(a + "attention.head_count", options.heads);
  metadata.set_integer(a + "attention.head_count_kv", options.kv_heads);
  metadata.set_integer(a + "attention.key_length", options.key_length);
  metadata.set_integer(a + "attention.value_length", options.key_length);
  metadata.set_integer(a + "context_length", options.context);
  if (options.window > 0) metadata.set_integer(a + "attention.sliding_window", options.window);
}

}  // namespace

std::unique_ptr<Checkpoint> make_tiny_checkpoint(const TinyModelOptions& o) {
  auto model = std::make_unique<MemoryCheckpoint>();
  model->random_.seed(o.seed);
  set_hyperparameters(o, model->metadata_);
  const bool gemma = o.architecture.starts_with("gemma"), bert = o.architecture == "bert";
  const float scale = 1 / std::sqrt(float(o.width));
  model->add("token_embd.weight", {o.vocabulary, o.width}, o.type, 1, 0);
  if (bert) {
    model->add("position_embd.weight", {o.context, o.width}, "F32", 0.5f, 0);
    model->add("token_types.weight", {2, o.width}, "F32", 0.5f, 0);
  }
  const auto norm = [&](const std::string& name, int width) {
    model->add(name + ".weight", {width}, "F32", 0.1f, 1);
    if (bert) model->add(name + ".bias", {width}, "F32", 0.1f, 0);
  };
  norm(bert ? "token_embd_norm" : "output_norm", o.width);
  for (int i = 0; i < o.layers; ++i) {
    const std::string p = "blk." + std::to_string(i) + ".";
    norm(p + (bert ? "attn_output_norm" : "attn_norm"), o.width);
    norm(p + (bert ? "layer_output_norm" : "ffn_norm"), o.width);
    if (gemma) norm(p + "post_attention_norm", o.width), norm(p + "post_ffw_norm", o.width);
    if (o.architecture == "gemma3" || o.architecture == "qwen3") {
      norm(p + "attn_q_norm", o.key_length), norm(p + "attn_k_norm", o.key_length);
    }
    const auto matrix = [&](const std::string& name, int outputs, int inputs, bool bias) {
      model->add(p + name + ".weight", {outputs, inputs}, o.type, scale, 0);
      if (bias) model->add(p + name + ".bias", {outputs}, "F32", 0.3f, 0);
    };
    const bool qkv_bias = bert || o.architecture == "qwen2";
    matrix("attn_q", o.heads * o.key_length, o.width, qkv_bias);
    matrix("attn_k", o.kv_heads * o.key_length, o.width, qkv_bias);
    matrix("attn_v", o.kv_heads * o.key_length, o.width, qkv_bias);
    matrix("attn_output", o.width, o.heads * o.key_length, bert);
    if (!bert) matrix("ffn_gate", o.feed_forward, o.width, false);
    matrix("ffn_up", o.feed_forward, o.width, bert);
    matrix("ffn_down", o.width, o.feed_forward, bert);
  }
  return model;
}

std::shared_ptr<const Model> make_tiny_model(const TinyModelOptions& options, int threads) {
  auto model = Model::load(make_tiny_checkpoint(options), {.threads = threads, .with_tokenizer = false});
  return model ? *model : nullptr;
}

}  // namespace kinglet::test
