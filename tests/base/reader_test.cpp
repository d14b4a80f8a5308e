#include "base/reader.h"

#include <gtest/gtest.h>

namespace kinglet {
namespace {

TEST(Checked, ArithmeticThatDoesNotFitIsAnError) {
  EXPECT_EQ(*checked_add(2, 3, "x"), 5u);
  EXPECT_EQ(*checked_multiply(1ull << 32, (1ull << 32) - 1, "x"), ((1ull << 32) - 1) << 32);
  EXPECT_FALSE(checked_multiply(1ull << 32, 1ull << 32, "x"));
  EXPECT_FALSE(checked_add(UINT64_MAX, 1, "x"));
  EXPECT_EQ(*checked_align(33, 32, "x"), 64u);
  EXPECT_EQ(*checked_align(64, 32, "x"), 64u);
  EXPECT_FALSE(checked_align(UINT64_MAX, 32, "x"));
  EXPECT_FALSE(checked_narrow<std::int32_t>(std::uint64_t{1} << 31, "x"));
  EXPECT_FALSE(checked_narrow<std::uint32_t>(std::int64_t{-1}, "x"));
  EXPECT_EQ(*checked_narrow<std::int8_t>(-128, "x"), -128);
}

TEST(Reader, NeverPassesTheEnd) {
  const std::string bytes("\x01\x02\x00\x00\x00\x00\x00\x00\x00hi", 11);
  Reader reader(std::as_bytes(std::span(bytes)), "f");
  EXPECT_EQ(reader.number<std::uint8_t>("n")->as_data(), 1);
  EXPECT_EQ(*reader.string(10, "s"), "hi");
  EXPECT_EQ(reader.remaining(), 0u);
  const auto past = reader.number<std::uint8_t>("a number");
  ASSERT_FALSE(past);
  EXPECT_EQ(past.error().place, "f, byte 11");
  EXPECT_EQ(past.error().message, "the file ends inside a number (1 bytes expected, 0 left)");
  EXPECT_TRUE(reader.bytes(0, "nothing"));
}

TEST(Reader, StringsAreBoundedByTheLimitAndTheFile) {
  const std::string bytes(
      "\xff\xff\xff\xff\xff\xff\xff\xff"
      "abc",
      11);
  Reader reader(std::as_bytes(std::span(bytes)), "f");
  const auto huge = reader.string(UINT64_MAX, "s");
  ASSERT_FALSE(huge);
  EXPECT_EQ(huge.error().code, ErrorCode::kCorrupt);
  Reader again(std::as_bytes(std::span(bytes)), "f");
  EXPECT_FALSE(again.string(100, "s"));
}

TEST(Untrusted, NeedsARange) {
  EXPECT_EQ(*Untrusted<int>(5).between(1, 5, "x"), 5);
  EXPECT_FALSE(Untrusted<int>(6).between(1, 5, "x"));
  EXPECT_FALSE(Untrusted<double>(0.0 / 0.0).between(0, 1, "x"));
}

}  // namespace
}  // namespace kinglet
