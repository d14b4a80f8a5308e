#include "compress/plan/type_times.h"

#include <gtest/gtest.h>

#include "base/thread_pool.h"

namespace kinglet {
namespace {

TensorInfo tensor(std::string name, const char* type, std::int64_t rows, std::int64_t columns) {
  const BlockType* block = fitting_block_type(*find_block_type(type), columns);
  return {std::move(name),
          block,
          {rows, columns},
          static_cast<std::uint64_t>(rows) * block->row_bytes(static_cast<std::uint64_t>(columns))};
}

TEST(TypeTimes, EveryTypeThatWasAskedForHasATime) {
  TypeTimes times;
  for (const char* name : {"F32", "Q8_0", "K4", "Q4_0"})
    times.want(*fitting_block_type(*find_block_type(name), 96), 96, 9600);
  ThreadPool pool(2);
  ASSERT_TRUE(times.measure(pool, 1 << 20, 1 << 18));
  for (const char* name : {"F32", "Q8_0", "K4", "Q4_0"}) {
    const BlockType& type = *fitting_block_type(*find_block_type(name), 96);
    EXPECT_GT(times.seconds(type, 10, 96), 0) << name;
    EXPECT_DOUBLE_EQ(times.seconds(type, 20, 96), 2 * times.seconds(type, 10, 96)) << name;
  }
  EXPECT_EQ(times.seconds(*find_block_type("Q5_0"), 10, 96), 0);
  EXPECT_EQ(times.seconds(*find_block_type("Q8_0"), 10, 64), 0);
}

TEST(TypeTimes, TheJournalGivesTheSameTimes) {
  TypeTimes times;
  times.want(*find_block_type("Q8_0"), 64, 6400);
  ThreadPool pool(1);
  ASSERT_TRUE(times.measure(pool, 1 << 20, 1 << 18));
  const auto again = TypeTimes::parse(times.text(), "times.json");
  ASSERT_TRUE(again);
  EXPECT_DOUBLE_EQ(again->seconds(*find_block_type("Q8_0"), 7, 64), times.seconds(*find_block_type("Q8_0"), 7, 64));
  EXPECT_EQ(again->text(), TypeTimes::parse(again->text(), "")->text());
  EXPECT_FALSE(TypeTimes::parse("{}", "times.json"));
  EXPECT_FALSE(TypeTimes::parse("[{\"type\": 1}]", "times.json"));
  EXPECT_FALSE(TypeTimes::parse("[", "times.json"));
}

TEST(SpeedModel, SumsWhatATokenIsMultipliedBy) {
  const auto times = TypeTimes::parse(
      R"([{"type": "Q8_0", "columns": 64, "picoseconds_a_weight": 10}, {"type": "K4", "columns": 64, "picoseconds_a_weight": 5}])",
      "");
  ASSERT_TRUE(times);
  SpeedModel model{.times = *times, .source_seconds = 1, .scale = 2, .other_seconds = 1e-9};
  std::vector<TensorInfo> tensors{tensor("token_embd.weight", "Q8_0", 100, 64),
                                  tensor("blk.0.attn_q.weight", "K4", 64, 64),
                                  tensor("position_embd.weight", "Q8_0", 100, 64)};
  // The embedding is the head where there is no other.
  EXPECT_NEAR(model.seconds(tensors), 1e-9 + 2 * (6400 * 10e-12 + 4096 * 5e-12), 1e-15);
  tensors.push_back(tensor("output.weight", "K4", 100, 64));
  EXPECT_NEAR(model.seconds(tensors), 1e-9 + 2 * (6400 * 5e-12 + 4096 * 5e-12), 1e-15);
}

}  // namespace
}  // namespace kinglet
