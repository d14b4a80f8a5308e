// Hyperparameters and tensors that do not fit: each is an error that names the key or the tensor, before anything large
// is allocated.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>

#include "engine/tiny_model_helper.h"

namespace kinglet {
namespace {

/// A tiny checkpoint with other metadata, one tensor missing, or one tensor of another shape.
class Changed final : public Checkpoint {
 public:
  explicit Changed(std::unique_ptr<Checkpoint> base) : keys(base->metadata()), base_(std::move(base)) {
    infos.assign(base_->tensors().begin(), base_->tensors().end());
  }
  const Metadata& metadata() const override { return keys; }
  std::span<const TensorInfo> tensors() const override { return infos; }
  Result<TensorData> data(const TensorInfo& tensor) const override {
    for (const auto& [name, bytes] : replaced) {
      if (name == tensor.name) return TensorData{std::as_bytes(std::span(bytes)), nullptr};
    }
    return base_->data(tensor);
  }
  std::string_view format() const override { return "memory"; }
  std::string_view path() const override { return "changed"; }
  std::uint64_t file_bytes() const override { return 1; }

  Metadata keys;
  std::vector<TensorInfo> infos;
  std::vector<std::pair<std::string, std::vector<float>>> replaced;

  TensorInfo& info(std::string_view name) {
    for (TensorInfo& each : infos) {
      if (each.name == name) return each;
    }
    throw std::out_of_range(std::string(name));
  }

 private:
  std::unique_ptr<Checkpoint> base_;
};

Error load_error(const std::function<void(Changed&)>& change, test::TinyModelOptions options = {}) {
  auto checkpoint = std::make_unique<Changed>(test::make_tiny_checkpoint(options));
  change(*checkpoint);
  auto model = Model::load(std::move(checkpoint), {.threads = 1, .with_tokenizer = false});
  EXPECT_FALSE(model.has_value());
  return model ? Error{} : model.error();
}

void expect_corrupt(const std::function<void(Changed&)>& change, std::string_view word,
                    test::TinyModelOptions options = {}) {
  const Error error = load_error(change, options);
  EXPECT_EQ(error.code, ErrorCode::kCorrupt) << error.text();
  EXPECT_NE(error.text().find(word), std::string::npos) << error.text();
}

TEST(Loader, LoadsTheUnchangedModel) {
  auto checkpoint = std::make_unique<Changed>(test::make_tiny_checkpoint({}));
  EXPECT_TRUE(Model::load(std::move(checkpoint), {.threads = 1, .with_tokenizer = false}));
}

TEST(Loader, NamesAnUnknownArchitectureAndTheKnownOnes) {
  const Error error = load_error([](Changed& m) { m.keys.set_string("general.architecture", "mamba9"); });
  EXPECT_EQ(error.code, ErrorCode::kUnsupported);
  EXPECT_NE(error.text().find("mamba9"), std::string::npos);
  EXPECT_NE(error.text().find("llama"), std::string::npos);
}

TEST(Loader, RefusesAMissingArchitecture) {
  expect_corrupt([](Changed& m) { m.keys.erase("general.architecture"); }, "general.architecture");
}

TEST(Loader, RefusesImpossibleSizes) {
  const auto set = [](const char* key, std::int64_t value) {
    return [=](Changed& m) { m.keys.set_integer(key, value, MetadataType::kInt64); };
  };
  const std::int64_t largest = std::numeric_limits<std::int64_t>::max();
  for (std::int64_t layers :
       {std::int64_t{0}, std::int64_t{-1}, std::int64_t{100'000}, std::int64_t{1'000'000'000}, largest}) {
    expect_corrupt(set("llama.block_count", layers), "block_count");
  }
  for (std::int64_t width : {std::int64_t{0}, std::int64_t{-5}, largest}) {
    expect_corrupt(set("llama.embedding_length", width), "embedding_length");
  }
  for (std::int64_t context : {std::int64_t{0}, largest}) {
    expect_corrupt(set("llama.context_length", context), "context_length");
  }
  expect_corrupt(set("llama.attention.head_count", 0), "head_count");
  expect_corrupt(set("llama.attention.head_count_kv", 4), "heads");   // 6 heads cannot share 4
  expect_corrupt(set("llama.attention.head_count_kv", 12), "heads");  // more than the query heads
  expect_corrupt(set("llama.attention.key_length", largest), "key_length");
  expect_corrupt(set("llama.rope.dimension_count", 31), "dimension_count");
  expect_corrupt(set("llama.rope.dimension_count", 1000), "dimension_count");
}

TEST(Loader, RefusesImpossibleRotaryBases) {
  for (double base : {0.0, -1.0, double(std::numeric_limits<float>::infinity())}) {
    expect_corrupt([=](Changed& m) { m.keys.set_number("llama.rope.freq_base", base); }, "freq_base");
  }
}

TEST(Loader, RefusesOneLayerMoreThanThereIs) {
  expect_corrupt([](Changed& m) { m.keys.set_integer("llama.block_count", 4); }, "blk.3.");
}

TEST(Loader, NamesAMissingTensor) {
  expect_corrupt(
      [](Changed& m) { std::erase_if(m.infos, [](const TensorInfo& t) { return t.name == "blk.1.ffn_up.weight"; }); },
      "blk.1.ffn_up.weight");
}

TEST(Loader, NamesATensorOfAnotherShape) {
  expect_corrupt([](Changed& m) { m.keys.set_integer("llama.feed_forward_length", 192); }, "blk.0.ffn");
  expect_corrupt([](Changed& m) { m.info("blk.0.attn_norm.weight").shape = {95}; }, "blk.0.attn_norm.weight");
}

TEST(Loader, RefusesANormThatIsNotFinite) {
  for (float value : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    expect_corrupt(
        [=](Changed& m) {
          std::vector<float> norm(96, 1);
          norm[17] = value;
          m.replaced.emplace_back("blk.2.ffn_norm.weight", norm);
        },
        "blk.2.ffn_norm.weight");
  }
}

TEST(Loader, RefusesAnUnknownRotaryScalingByName) {
  const Error error = load_error([](Changed& m) { m.keys.set_string("llama.rope.scaling.type", "yarn9"); });
  EXPECT_EQ(error.code, ErrorCode::kUnsupported);
  EXPECT_NE(error.text().find("yarn9"), std::string::npos);
}

TEST(Loader, RefusesASlidingPatternOfAnotherLength) {
  expect_corrupt([](Changed& m) { m.keys.set_integers("gemma3.attention.sliding_window_pattern", {1, 0}); },
                 "sliding_window_pattern", {.architecture = "gemma3", .window = 16});
}

}  // namespace
}  // namespace kinglet
