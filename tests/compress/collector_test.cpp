#include "compress/calibration/collector.h"

#include <gtest/gtest.h>

#include <map>

#include "base/file.h"
#include "compress/calibration/calibration_text.h"
#include "engine/tiny_model_helper.h"
#include "temporary_folder.h"

namespace kinglet {
namespace {

using test::make_tiny_checkpoint;
using test::TemporaryFolder;

std::vector<std::vector<TokenId>> some_windows() { return {{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, {3, 3, 3, 9, 8, 7}, {11}}; }

std::vector<InputStatistics> collect(const Checkpoint& checkpoint, const CollectorOptions& options) {
  std::vector<InputStatistics> all;
  const auto done = collect_statistics(checkpoint, some_windows(), options, [&](InputStatistics each) -> Result<void> {
    all.push_back(std::move(each));
    return {};
  });
  EXPECT_TRUE(done) << (done ? "" : done.error().text());
  return all;
}

TEST(Collector, RangesAndMomentsAgree) {
  const auto checkpoint = make_tiny_checkpoint({});
  const auto all = collect(*checkpoint, {.moments = true, .threads = 2});
  const auto layers = (all.size() - 1) / 4;
  ASSERT_EQ(all.size(), 4 * layers + 1);
  EXPECT_EQ(all.back().layer, static_cast<int>(layers));
  for (const InputStatistics& each : all) {
    const std::size_t inputs = each.low.size();
    ASSERT_EQ(each.moment.size(), inputs * inputs);
    for (std::size_t i = 0; i < inputs; ++i) {
      EXPECT_LE(each.low[i], each.high[i]);
      EXPECT_LE(each.mean_square[i], std::max(each.low[i] * each.low[i], each.high[i] * each.high[i]) * 1.0001f);
      EXPECT_NEAR(each.moment[i * inputs + i], 17 * each.mean_square[i], 1e-3f * (1 + each.moment[i * inputs + i]));
    }
  }
  const auto one = collect(*checkpoint, {.moments = true, .threads = 1});
  for (std::size_t i = 0; i < all.size(); ++i) EXPECT_EQ(one[i].moment, all[i].moment);
}

TEST(Collector, KeepsAndChecksWhatItHas) {
  const TemporaryFolder folder;
  const auto checkpoint = make_tiny_checkpoint({});
  const CollectorOptions options{.threads = 1, .folder = folder.path() + "/cache", .key = "k"};
  const auto first = collect(*checkpoint, options), second = collect(*checkpoint, options);
  ASSERT_EQ(first.size(), second.size());
  for (std::size_t i = 0; i < first.size(); ++i) {
    EXPECT_EQ(first[i].low, second[i].low);
    EXPECT_EQ(first[i].high, second[i].high);
    EXPECT_EQ(first[i].mean_square, second[i].mean_square);
  }
  // A damaged file is found out and made again.
  const std::string path = options.folder + "/k.0.kcal";
  auto text = read_file(path, 1 << 24);
  ASSERT_TRUE(text);
  const std::string whole = *text;
  (*text)[60] ^= 1;
  auto file = AtomicFile::create(path);
  ASSERT_TRUE(file && (*file)->write(*text) && (*file)->commit());
  EXPECT_EQ(collect(*checkpoint, options)[0].low, first[0].low);
  EXPECT_EQ(*read_file(path, 1 << 24), whole);
}

TEST(CalibrationText, CountsTokens) {
  const auto counts = token_counts(some_windows(), 12);
  EXPECT_EQ(counts[3], 4);
  EXPECT_EQ(counts[0], 0);
  EXPECT_EQ(counts[11], 1);
}

TEST(CalibrationText, LinesForEncoders) {
  const std::string word = "nine ones ";  // 10 bytes
  std::string line, accents;
  for (int i = 0; i < 90; ++i) line += word;
  for (int i = 0; i < 300; ++i) accents += "\u00e9";
  const std::string text = "a heading\n\n" + line + "\n" + accents;
  const auto lines = lines_to_embed(text, RestOfLine::kNextLine);
  ASSERT_EQ(lines.size(), 5u);
  std::string joined;
  for (int i = 0; i < 3; ++i) joined += std::string(lines[static_cast<std::size_t>(i)]) + (i < 2 ? " " : "");
  EXPECT_EQ(joined, line);  // cut at spaces, and nothing lost
  EXPECT_EQ(lines[0].size(), 399u);
  EXPECT_EQ(std::string(lines[3]) + std::string(lines[4]), accents);
  EXPECT_EQ(lines[3].size() % 2, 0u);  // no character is cut
  EXPECT_EQ(lines_to_embed(text, RestOfLine::kLeftAway).size(), 2u);
}

TEST(CalibrationText, TheMixHasAllItsParts) {
  double share = 0;
  std::size_t bytes = 0;
  for (const MixPart& part : calibration_mix()) {
    EXPECT_GT(part.text.size(), 10000u) << part.name;
    share += part.share;
    bytes += part.text.size();
  }
  EXPECT_NEAR(share, 1, 1e-9);
  EXPECT_LT(bytes, 1000000u);
}

}  // namespace
}  // namespace kinglet
