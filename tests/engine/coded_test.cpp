// Entropy-coded matrices that stay coded: the bits of the plain model for any threads, rows and chunks, and damage is
// an error when the model is loaded, later a NaN.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <random>

#include "engine/tiny_model_helper.h"
#include "kinglet/convert.h"
#include "temporary_folder.h"

namespace kinglet {
namespace {

using test::TinyModelOptions;

/// Rows that meet the borders of blocks anywhere, a last tile that is not whole, matrices below and above one block.
TinyModelOptions sizes(std::string architecture, std::string type) {
  return {.architecture = std::move(architecture),
          .type = std::move(type),
          .layers = 2,
          .width = 192,
          .heads = 6,
          .kv_heads = 2,
          .feed_forward = 424,
          .vocabulary = 1003,
          .key_length = 32};
}

class KeptCoded : public testing::TestWithParam<std::pair<const char*, const char*>> {
 protected:
  void SetUp() override { write(sizes(GetParam().first, GetParam().second)); }

  void write(const TinyModelOptions& options) {
    const auto checkpoint = test::make_tiny_checkpoint(options);
    ASSERT_TRUE(convert_checkpoint(*checkpoint, plain_, {}));
    ConvertOptions lossless;
    lossless.lossless = true;
    const auto report = convert_checkpoint(*checkpoint, coded_, lossless);
    ASSERT_TRUE(report) << report.error().text();
    ASSERT_LT(std::filesystem::file_size(coded_), std::filesystem::file_size(plain_));
  }
  static LoadOptions load_options(int threads, bool keep_coded) {
    return {.threads = threads, .with_tokenizer = false, .keep_coded = keep_coded};
  }
  static std::shared_ptr<const Model> load(const std::string& path, int threads, bool keep_coded) {
    auto model = Model::load(path, load_options(threads, keep_coded));
    EXPECT_TRUE(model) << model.error().text();
    return model ? *model : nullptr;
  }

  test::TemporaryFolder folder_;
  const std::string plain_ = folder_.path("plain.gguf"), coded_ = folder_.path("coded.gguf");
};

/// Logits after each of two texts fed side by side: 25 tokens in chunks, then token by token, both in one call.
std::vector<float> logits_of(const std::shared_ptr<const Model>& model, int chunk) {
  const auto engine = Engine::create(model, {}).value();
  const auto vocabulary = std::size_t(model->config().vocabulary);
  std::mt19937 random(3);
  const auto ids = [&](std::size_t count) {
    std::vector<TokenId> list(count);
    for (TokenId& id : list) id = TokenId(random() % vocabulary);
    return list;
  };
  std::vector<float> all(10 * vocabulary);
  std::unique_ptr<Sequence> texts[2];
  for (std::size_t t = 0; t < 2; ++t) {
    texts[t] = engine->new_sequence().value();
    EXPECT_TRUE(prefill(*engine, *texts[t], ids(25), chunk, all.data() + t * vocabulary));
  }
  const std::int32_t wanted[] = {0, 1};
  for (std::int32_t step = 1; step < 5; ++step) {
    const Row rows[] = {{texts[0].get(), 24 + step}, {texts[1].get(), 24 + step}};
    EXPECT_TRUE(engine->step(rows, ids(2), wanted, all.data() + 2 * std::size_t(step) * vocabulary));
  }
  return all;
}

TEST_P(KeptCoded, GivesTheBitsOfThePlainModel) {
  const std::vector<float> expected = logits_of(load(plain_, 1, false), 0);
  for (const float value : expected) ASSERT_TRUE(std::isfinite(value));
  EXPECT_EQ(logits_of(load(coded_, 2, false), 0), expected);
  for (const int threads : {1, 2, 7}) {
    const auto model = load(coded_, threads, true);
    EXPECT_LT(model->weight_bytes(), load(plain_, 1, false)->weight_bytes());
    for (const int chunk : {0, 1, 9}) EXPECT_EQ(logits_of(model, chunk), expected) << threads << ", " << chunk;
  }
}

INSTANTIATE_TEST_SUITE_P(Models, KeptCoded,
                         testing::Values(std::pair("llama", "BF16"), std::pair("gemma3", "BF16"),
                                         std::pair("llama", "F16")),
                         [](const auto& info) { return std::string(info.param.first) + info.param.second; });

class CodedFile : public KeptCoded {
 protected:
  void SetUp() override { write(sizes("llama", "BF16")); }
  /// Flips a bit of the raw bytes in the middle of the embedding, in place.
  void damage() const {
    const auto checkpoint = open_checkpoint(coded_).value();
    const TensorInfo* embedding = checkpoint->find("token_embd.weight");
    const auto data = checkpoint->stored(*embedding).value();
    const auto file = folder_.read("coded.gguf");
    const auto at = file.find(std::string_view(reinterpret_cast<const char*>(data.bytes.data()), 4096));
    ASSERT_NE(at, std::string::npos);
    std::fstream out(coded_, std::ios::binary | std::ios::in | std::ios::out);
    out.seekp(std::streamoff(at + data.bytes.size() / 3));
    out.put(static_cast<char>(file[at + data.bytes.size() / 3] ^ 0x20));
  }
};

TEST_F(CodedFile, DamageIsFoundWhenTheModelIsLoaded) {
  damage();
  const auto model = Model::load(coded_, load_options(1, true));
  ASSERT_FALSE(model);
  EXPECT_EQ(model.error().code, ErrorCode::kCorrupt);
  EXPECT_NE(model.error().text().find("token_embd.weight"), std::string::npos) << model.error().text();
  EXPECT_NE(model.error().text().find("coded.gguf"), std::string::npos) << model.error().text();
}

TEST_F(CodedFile, AFileThatChangesLaterGivesNaN) {
  const auto model = load(coded_, 2, true);
  const std::vector<float> before = logits_of(model, 0);
  damage();
  const std::vector<float> after = logits_of(model, 0);
  EXPECT_NE(std::ranges::count_if(after, [](float value) { return std::isnan(value); }), 0);
}

TEST_F(CodedFile, IsRefusedWhereItCannotBe) {
  const auto plain = Model::load(plain_, load_options(1, true));
  ASSERT_FALSE(plain);
  EXPECT_EQ(plain.error().code, ErrorCode::kUnsupported);
  LoadOptions options = load_options(1, true);
  options.weight_memory = 1 << 20;
  const auto streamed = Model::load(coded_, options);
  ASSERT_FALSE(streamed);
  EXPECT_EQ(streamed.error().code, ErrorCode::kInvalidArgument);
}

}  // namespace
}  // namespace kinglet
