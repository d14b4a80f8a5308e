#include "base/json.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace kinglet {
namespace {

TEST(Json, KeepsTheOrderOfKeys) {
  const auto value = parse_json(R"({"z":1,"a":[true,null,-2,1.5,"x\u00e9"]})", "t");
  ASSERT_TRUE(value) << value.error().text();
  EXPECT_EQ(dump_json(*value), "{\"z\":1,\"a\":[true,null,-2,1.5,\"x\xc3\xa9\"]}");
}

TEST(Json, DepthIsLimitedBeforeAValueExists) {
  const auto nested = [](std::size_t depth) { return std::string(depth, '[') + std::string(depth, ']'); };
  EXPECT_TRUE(parse_json(nested(128), "t"));
  const auto deep = parse_json(nested(129), "t");
  ASSERT_FALSE(deep);
  EXPECT_EQ(deep.error().code, ErrorCode::kExhausted);
  EXPECT_EQ(deep.error().place, "t, byte 129");
  EXPECT_FALSE(parse_json(nested(1'000'000), "t"));
  EXPECT_FALSE(parse_json(std::string(1'000'000, '{'), "t"));
}

TEST(Json, ErrorsSayWhere) {
  const auto broken = parse_json("{\"a\": tru}", "file.json");
  ASSERT_FALSE(broken);
  EXPECT_EQ(broken.error().code, ErrorCode::kCorrupt);
  EXPECT_EQ(broken.error().place, "file.json, byte 9");
  EXPECT_EQ(broken.error().message.find("not valid JSON: syntax error"), 0u);
  for (std::string_view text : {"", "{", "[1,]", "{\"a\":1,}", "nul", "\"\xff\"", "1 2", "\"\\ud800\"", "1e999", "'a'"})
    EXPECT_FALSE(parse_json(text, "t")) << text;
}

TEST(Json, DuplicateKeys) {
  const auto last = parse_json(R"({"a":1,"b":2,"a":3})", "t");
  ASSERT_TRUE(last);
  EXPECT_EQ(last->size(), 2u);
  EXPECT_EQ((*last)["a"], 3);
  const auto refused = parse_json(R"({"x":{"a":1,"b":2,"a":3}})", "t", {.refuse_duplicates = true});
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("\"a\" stands twice"), std::string::npos);
  EXPECT_TRUE(parse_json(R"([{"a":1},{"a":1}])", "t", {.refuse_duplicates = true}));
}

TEST(Json, SizeIsLimited) {
  const auto large = parse_json("[1,2,3,4]", "t", {.max_bytes = 8});
  ASSERT_FALSE(large);
  EXPECT_EQ(large.error().code, ErrorCode::kExhausted);
}

TEST(Json, ManyKeysTakeLinearTime) {
  std::string text = "{";
  for (int i = 0; i < 300'000; ++i) text += (i > 0 ? ",\"k" : "\"k") + std::to_string(i) + "\":" + std::to_string(i);
  const auto value = parse_json(text + "}", "t");
  ASSERT_TRUE(value);
  EXPECT_EQ(value->size(), 300'000u);
}

}  // namespace
}  // namespace kinglet
