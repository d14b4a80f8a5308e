#include "kinglet/measure.h"

#include <gtest/gtest.h>

#include <numeric>

#include "decode/fake_engine.h"

namespace kinglet {
namespace {

std::vector<TokenId> counting(std::size_t count) {
  std::vector<TokenId> ids(count);
  std::iota(ids.begin(), ids.end(), 0);
  return ids;
}

TEST(Windows, DoNotOverlapAndScoreTheSecondHalf) {
  const auto tokenizer = fake::letters(26);
  const auto windows = make_windows(counting(35), tokenizer, {.context = 16});
  ASSERT_TRUE(windows);
  ASSERT_EQ(windows->size(), 2u);  // the last 3 tokens are no window
  EXPECT_EQ((*windows)[0].ids, counting(16));
  EXPECT_EQ((*windows)[1].ids.front(), 16);
  EXPECT_EQ((*windows)[1].text_offset, 16u);
  EXPECT_EQ((*windows)[1].score_from, 9u);  // 7 tokens: 512 -> 255 in llama-perplexity
}

TEST(Windows, BeginWithBosWhereTheModelAddsIt) {
  auto tokenizer = fake::letters(26);
  tokenizer.bos = 99;
  tokenizer.adds_bos = true;
  const auto windows = make_windows(counting(32), tokenizer, {.context = 16});
  EXPECT_EQ((*windows)[0].ids[0], 99);
  EXPECT_EQ((*windows)[1].ids[0], 99);
  EXPECT_EQ((*windows)[1].ids[1], 17);
}

TEST(Windows, StrideScoresEveryTokenOnceWithEnoughBefore) {
  const auto tokenizer = fake::letters(26);
  for (const std::int64_t stride : {1, 3, 7, 16}) {
    const auto windows = make_windows(counting(61), tokenizer, {.context = 16, .stride = stride});
    ASSERT_TRUE(windows);
    std::vector<int> scored(61);
    for (const TextWindow& window : *windows) {
      EXPECT_LE(window.ids.size(), 16u);
      for (std::size_t i = window.score_from; i < window.ids.size(); ++i) {
        ++scored[window.text_offset + i];
        if (window.text_offset > 0 && stride < 16) EXPECT_GE(static_cast<std::int64_t>(i), 16 - stride);
      }
    }
    for (std::size_t i = 1; i < scored.size(); ++i) EXPECT_LE(scored[i], 1) << stride;
    const int count = std::accumulate(scored.begin(), scored.end(), 0);
    if (stride < 16)
      EXPECT_EQ(count, 60);
    else
      EXPECT_EQ(count, 57);  // windows that touch: the first token of each has nothing before it
  }
}

TEST(Windows, AShortTextIsOneWindow) {
  const auto tokenizer = fake::letters(26);
  const auto windows = make_windows(counting(10), tokenizer, {.context = 512});
  ASSERT_EQ(windows->size(), 1u);
  EXPECT_EQ((*windows)[0].score_from, 6u);
  EXPECT_FALSE(make_windows(counting(2), tokenizer, {}));
  EXPECT_FALSE(make_windows(counting(20), tokenizer, {.context = 3}));
  EXPECT_FALSE(make_windows(counting(20), tokenizer, {.context = 8, .stride = 9}));
}

TEST(Percentile, InterpolatesBetweenRanks) {
  std::vector<double> values = {4, 1, 3, 2};
  EXPECT_DOUBLE_EQ(percentile(values, 0), 1);
  EXPECT_DOUBLE_EQ(percentile(values, 0.5), 2.5);
  EXPECT_DOUBLE_EQ(percentile(values, 1), 4);
  std::vector<double> none;
  EXPECT_EQ(percentile(none, 0.5), 0);
}

TEST(SpeedTests, AreParsedByName) {
  EXPECT_EQ(parse_speed_test("decode")->kind, SpeedTest::Kind::kDecode);
  EXPECT_EQ(parse_speed_test("prefill")->size, 512);
  EXPECT_EQ(parse_speed_test("prefill100")->size, 100);
  EXPECT_EQ(parse_speed_test("batch8")->size, 8);
  EXPECT_EQ(parse_speed_test("depth4096")->kind, SpeedTest::Kind::kDepth);
  for (const char* wrong :
       {"", "batch", "batch0", "batch-1", "batch9999", "depth", "depth99999999999", "decode2", "speed"})
    EXPECT_FALSE(parse_speed_test(wrong)) << wrong;
}

TEST(Machine, IsDescribed) {
  EXPECT_GT(measure_bandwidth(1, 0.01), 1e7);
  EXPECT_GT(peak_memory(), 1u << 20);
  const Machine machine = describe_machine();
  EXPECT_GE(machine.cores, 1);
  EXPECT_GT(machine.memory_bytes, 0u);
  EXPECT_FALSE(machine.system.empty());
}

TEST(Machine, ForeignLoadIsAShare) {
  ForeignLoad load;
  volatile double x = 0;
  for (int i = 0; i < 20000000; ++i) x = x + 1;
  const double share = load.share();
  EXPECT_GE(share, 0);
  EXPECT_LE(share, 1.01);
}

}  // namespace
}  // namespace kinglet
