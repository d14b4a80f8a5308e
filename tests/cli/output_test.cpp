// What reaches a terminal.
#include <gtest/gtest.h>

#include "base/progress.h"
#include "cli/output.h"

namespace kinglet {
namespace {

TEST(Output, ControlCharactersAndIllFormedTextAreEscaped) {
  EXPECT_EQ(escape_for_terminal("a\x1b[31mb"), "a\\x1B[31mb");
  EXPECT_EQ(escape_for_terminal("a\nb\t"), "a\\x0Ab\\x09");
  EXPECT_EQ(escape_for_terminal("a\nb\t", true), "a\nb\t");
  EXPECT_EQ(escape_for_terminal("\xFFz"), "\\xFFz");
  EXPECT_EQ(escape_for_terminal("\xC2\x9B"
                                "31m"),
            "\\x9B31m");
  EXPECT_EQ(escape_for_terminal("\xE2\x80\xAE"), "\\u202E");
  EXPECT_EQ(escape_for_terminal("größe 東京 🙂"), "größe 東京 🙂");
}

TEST(Output, BytesAndDurationsReadWell) {
  EXPECT_EQ(format_bytes(999), "999 B");
  EXPECT_EQ(format_bytes(98362432), "98.4 MB");
  EXPECT_EQ(format_bytes(999'960), "1.0 MB");
  EXPECT_EQ(format_duration(8), "8 s");
  EXPECT_EQ(format_duration(200), "3 min 20 s");
  EXPECT_EQ(format_duration(7500), "2 h 5 min");
}

TEST(Output, AProgressLineHasShareAmountRateAndRemainingTime) {
  EXPECT_EQ(progress_line({"pulling x", 50'000'000, 100'000'000, ProgressUnit::kBytes}, 5, 50'000'000, 0),
            "pulling x   50 %  50.0 MB of 100.0 MB  10.0 MB/s  5 s left");
  EXPECT_EQ(progress_line({"reading", 7, 0, ProgressUnit::kItems}, 0, 0, 0), "reading  7");
  EXPECT_EQ(progress_line({"reading", 7, 0, ProgressUnit::kItems}, 0, 0, 5).size(), 5u);
}

}  // namespace
}  // namespace kinglet
