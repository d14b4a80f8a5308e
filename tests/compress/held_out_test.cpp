#include "compress/held_out.h"

#include <gtest/gtest.h>

namespace kinglet {
namespace {

TEST(HeldOut, EveryFifthPieceAndNothingTwice) {
  std::string text;
  for (int i = 0; i < 12000; ++i) text += "line " + std::to_string(i) + "\n";
  const SplitText split = split_text(text);
  EXPECT_EQ(split.calibration.size() + split.held_out.size(), text.size());
  EXPECT_NEAR(static_cast<double>(split.held_out.size()) / static_cast<double>(text.size()), 0.2, 0.03);
  // Whole lines, and no line of one in the other.
  EXPECT_EQ(split.held_out.find("line "), 0u);
  std::size_t at = 0;
  while (at < split.held_out.size()) {
    const std::size_t end = split.held_out.find('\n', at);
    ASSERT_NE(end, std::string::npos);
    EXPECT_EQ(split.calibration.find("\n" + split.held_out.substr(at, end - at + 1)), std::string::npos);
    at = end + 1;
  }
}

TEST(HeldOut, ShortTextsGiveTheirEnd) {
  const std::string text = "one two three four five six seven eight nine ten";
  const SplitText split = split_text(text);
  EXPECT_EQ(split.calibration + split.held_out, text);
  EXPECT_FALSE(split.held_out.empty());
  EXPECT_EQ(split_text("").calibration, "");
}

TEST(HeldOut, CutsNoCharacter) {
  std::string text;
  for (int i = 0; i < 40000; ++i) text += "\xC3\xA9";  // no line, no space
  const SplitText split = split_text(text);
  EXPECT_EQ(split.calibration.size() % 2, 0u);
  EXPECT_EQ(split.held_out.size() % 2, 0u);
}

TEST(HeldOut, TheBuiltInTextHasBothParts) {
  const SplitText split = built_in_text();
  EXPECT_GT(split.calibration.size(), 100'000u);
  EXPECT_GT(split.held_out.size(), 25'000u);
}

}  // namespace
}  // namespace kinglet
