// A trimmed head gives the whole head's logits to the bit: its rows are copied as they are packed.
#include "decode/trimmed_head.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <string>
#include <vector>

#include "engine/tiny_model_helper.h"
#include "kinglet/convert.h"

namespace kinglet {
namespace {

class TrimmedHeadTest : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    path_ = ::testing::TempDir() + "/trimmed_head_" + std::to_string(getpid()) + "_" + GetParam() + ".gguf";
    const auto checkpoint = test::make_tiny_checkpoint({.type = GetParam(), .vocabulary = 100});
    ASSERT_TRUE(convert_checkpoint(*checkpoint, path_, {}).has_value());
    auto model = Model::load(path_, {.threads = 1, .with_tokenizer = false});
    ASSERT_TRUE(model.has_value()) << model.error().text();
    engine_ = Engine::create(*model).value();
  }
  void TearDown() override { std::remove(path_.c_str()); }

  std::string path_;
  std::unique_ptr<Engine> engine_;
};

TEST_P(TrimmedHeadTest, KeptTokensHaveTheSameBits) {
  const std::vector<TokenId> kept = {0, 3, 17, 18, 19, 40, 63, 64, 99};
  const auto head = TrimmedHead::create(*engine_, kept);
  ASSERT_TRUE(head.has_value()) << head.error().text();
  auto sequence = engine_->new_sequence().value();
  const auto width = static_cast<std::size_t>(engine_->model().config().width);
  for (std::int32_t position = 0; position < 8; ++position) {
    const Row row{.sequence = sequence.get(), .position = position};
    const TokenId id = 7 * position + 1;
    std::vector<float> hidden(width), whole(100);
    ASSERT_TRUE(engine_->embed({&id, 1}, {&position, 1}, hidden.data()).has_value());
    ASSERT_TRUE(engine_->forward({.rows = {&row, 1}, .hidden = hidden.data()}).has_value());
    ASSERT_TRUE(engine_->head(hidden.data(), 1, {}, whole.data()).has_value());
    const std::uint64_t before = engine_->weights_read();
    const auto logits = (*head)->logits(*engine_, hidden.data());
    ASSERT_EQ(logits.size(), kept.size());
    for (std::size_t i = 0; i < kept.size(); ++i) EXPECT_EQ(logits[i], whole[static_cast<std::size_t>(kept[i])]);
    // What it reads is counted: tiles of 16 rows, one of seven.
    EXPECT_EQ(engine_->weights_read() - before, (*head)->bytes());
    EXPECT_LT((*head)->bytes(), engine_->model().output_head().bytes());
  }
}

INSTANTIATE_TEST_SUITE_P(Types, TrimmedHeadTest, ::testing::Values("F32", "F16", "Q8_0", "Q4_0", "Q5_0"));

TEST(WeightsRead, AStepReadsEachMatrixOnceWhateverItsRows) {
  auto engine = Engine::create(test::make_tiny_model({})).value();
  auto sequence = engine->new_sequence().value();
  std::vector<Row> rows;
  std::vector<TokenId> ids;
  for (std::int32_t i = 0; i < 6; ++i) {
    rows.push_back({.sequence = sequence.get(), .position = i});
    ids.push_back(i);
  }
  const std::int32_t last = 5;
  std::vector<float> logits(100);
  ASSERT_TRUE(engine->step(rows, ids, {&last, 1}, logits.data()).has_value());
  const std::uint64_t all = engine->weights_read();
  std::uint64_t expected = engine->model().output_head().bytes();
  for (const LayerWeights& layer : engine->model().layers)
    for (const auto* matrix :
         {&layer.query, &layer.key, &layer.value, &layer.output, &layer.gate, &layer.up, &layer.down})
      expected += (*matrix)->bytes();
  EXPECT_EQ(all, expected);
  const Row next{.sequence = sequence.get(), .position = 6};
  std::vector<float> hidden(96);
  const TokenId id = 9;
  ASSERT_TRUE(engine->embed({&id, 1}, {&next.position, 1}, hidden.data()).has_value());
  ASSERT_TRUE(engine->forward({.rows = {&next, 1}, .hidden = hidden.data(), .layer_end = 1}).has_value());
  EXPECT_EQ(engine->weights_read() - all, (expected - engine->model().output_head().bytes()) / 3);
}

}  // namespace
}  // namespace kinglet
