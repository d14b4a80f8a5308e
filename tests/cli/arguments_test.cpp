// Command lines against declarations.
#include <gtest/gtest.h>

#include "cli/parse.h"

namespace kinglet {
namespace {

constexpr std::string_view kChoices[] = {"f16", "int8"};
constexpr OptionSpec kOptions[] = {
    {.name = "max-tokens",
     .letter = 'n',
     .kind = OptionKind::kInteger,
     .value_name = "N",
     .help = "Most tokens",
     .fallback = "512",
     .min = 0,
     .max = 1000},
    {.name = "temperature", .kind = OptionKind::kNumber, .value_name = "X", .fallback = "0.5", .min = 0, .max = 10},
    {.name = "raw", .letter = 'r', .kind = OptionKind::kFlag, .help = "No template"},
    {.name = "cache", .kind = OptionKind::kChoice, .fallback = "f16", .choices = kChoices},
    {.name = "stop", .kind = OptionKind::kText, .repeatable = true},
    {.name = "to", .kind = OptionKind::kSize, .value_name = "SIZE"},
};
const std::span<const OptionSpec> kSets[] = {kOptions};

Result<void> nothing(const Arguments&) { return {}; }

const Command kCommand = {.name = "try",
                          .summary = "Tries",
                          .usage = "MODEL [TEXT]",
                          .options = kSets,
                          .min_positional = 1,
                          .max_positional = 2,
                          .run = nothing};

Result<Arguments> parse(std::vector<std::string_view> words) { return parse_arguments(kCommand, words); }
std::string error(std::vector<std::string_view> words) {
  auto parsed = parse(std::move(words));
  if (parsed) return "";
  EXPECT_EQ(parsed.error().code, ErrorCode::kInvalidArgument);
  return parsed.error().text();
}

TEST(Arguments, AllSpellingsOfAnOptionAreRead) {
  EXPECT_EQ(parse({"m", "--max-tokens", "5"})->integer("max-tokens"), 5);
  EXPECT_EQ(parse({"m", "--max-tokens=5"})->integer("max-tokens"), 5);
  EXPECT_EQ(parse({"m", "-n", "5"})->integer("max-tokens"), 5);
  EXPECT_EQ(parse({"m", "-n5"})->integer("max-tokens"), 5);
  EXPECT_EQ(parse({"m", "-rn", "5"})->integer("max-tokens"), 5);
  EXPECT_TRUE(parse({"m", "-rn", "5"})->flag("raw"));
  EXPECT_TRUE(parse({"m", "--raw"})->flag("raw"));
}

TEST(Arguments, FallbacksStandWhereNothingIsGiven) {
  const auto parsed = parse({"m"});
  EXPECT_EQ(parsed->integer("max-tokens"), 512);
  EXPECT_EQ(parsed->number("temperature"), 0.5);
  EXPECT_EQ(parsed->text("cache"), "f16");
  EXPECT_FALSE(parsed->given("cache"));
  EXPECT_FALSE(parsed->flag("raw"));
  EXPECT_EQ(parsed->size("to"), 0u);
}

TEST(Arguments, TheLastOfSeveralWinsAndRepeatableOnesAreAllKept) {
  EXPECT_EQ(parse({"m", "-n", "5", "-n", "6"})->integer("max-tokens"), 6);
  EXPECT_EQ(parse({"m", "--stop", "a", "--stop=b"})->texts("stop"), (std::vector<std::string>{"a", "b"}));
}

TEST(Arguments, TwoDashesEndTheOptions) {
  const auto parsed = parse({"m", "--", "--raw"});
  EXPECT_FALSE(parsed->flag("raw"));
  EXPECT_EQ(parsed->positional(), (std::vector<std::string>{"m", "--raw"}));
  EXPECT_EQ(parse({"-"})->positional(), std::vector<std::string>{"-"});
}

TEST(Arguments, EmptyTextIsAnArgument) { EXPECT_EQ(parse({"m", ""})->positional().size(), 2u); }

TEST(Arguments, WrongValuesSayWhatWasExpected) {
  EXPECT_EQ(error({"m", "-n", "x"}), "--max-tokens expects a whole number from 0 to 1000, found 'x'");
  EXPECT_EQ(error({"m", "-n", "1001"}), "--max-tokens expects a whole number from 0 to 1000, found '1001'");
  EXPECT_EQ(error({"m", "-n", "-1"}), "--max-tokens expects a whole number from 0 to 1000, found '-1'");
  EXPECT_NE(error({"m", "-n", "99999999999999999999"}), "");
  EXPECT_NE(error({"m", "-n", ""}), "");
  EXPECT_NE(error({"m", "-n", "5 "}), "");
  EXPECT_NE(error({"m", "-n", "0x5"}), "");
  EXPECT_NE(error({"m", "--temperature", "nan"}), "");
  EXPECT_NE(error({"m", "--temperature", "inf"}), "");
  EXPECT_NE(error({"m", "--temperature", "1e400"}), "");
  EXPECT_EQ(error({"m", "--cache", "in8"}), "--cache expects one of f16, int8, found 'in8'\nDid you mean int8?");
  EXPECT_NE(error({"m", "--to", "12 monkeys"}), "");
  EXPECT_EQ(error({"m", "--raw=1"}), "--raw takes no value\nWrite --raw alone.");
  EXPECT_NE(error({"m", "--max-tokens"}).find("none follows"), std::string::npos);
}

TEST(Arguments, AMisspelledOptionGetsTheNearestSuggested) {
  EXPECT_NE(error({"m", "--max-token", "5"}).find("Did you mean --max-tokens?"), std::string::npos);
  EXPECT_NE(error({"m", "--temprature=1"}).find("Did you mean --temperature?"), std::string::npos);
  EXPECT_NE(error({"m", "-raw"}).find("--raw"), std::string::npos);
  EXPECT_EQ(error({"m", "--zzzzzz"}).find("Did you mean"), std::string::npos);
}

TEST(Arguments, TheNumberOfArgumentsIsChecked) {
  EXPECT_NE(error({}).find("missing"), std::string::npos);
  EXPECT_NE(error({"a", "b", "c"}).find("'c'"), std::string::npos);
  EXPECT_TRUE(parse({"--help"}));
}

TEST(Arguments, SizesAreBytesOrHaveAUnit) {
  EXPECT_EQ(parse_size("4096"), 4096u);
  EXPECT_EQ(parse_size("60MB"), 60'000'000u);
  EXPECT_EQ(parse_size("1.5GiB"), 1'610'612'736u);
  EXPECT_EQ(parse_size("2 kB"), 2000u);
  for (const auto* wrong : {"", "MB", "-1", "1.5.2", "1e400", "99999999999999GB", "5 miles"})
    EXPECT_FALSE(parse_size(wrong)) << wrong;
}

TEST(Arguments, HelpNamesEveryOptionItsFallbackAndItsChoices) {
  const std::string help = command_help(kCommand);
  for (const auto* part : {"Usage: kinglet try MODEL [TEXT]", "-n, --max-tokens N", "[512]", "one of f16, int8",
                           "--threads N", "may be given several times"})
    EXPECT_NE(help.find(part), std::string::npos) << part << "\n" << help;
}

TEST(Arguments, NearestAcceptsSwapsAndPrefixes) {
  constexpr std::string_view kNames[] = {"inspect", "convert", "run", "tokenize"};
  EXPECT_EQ(nearest("isnpect", kNames), "inspect");
  EXPECT_EQ(nearest("conv", kNames), "convert");
  EXPECT_EQ(nearest("rnu", kNames), "run");
  EXPECT_EQ(nearest("shrink", kNames), "");
}

}  // namespace
}  // namespace kinglet
