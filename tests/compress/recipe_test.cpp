#include "kinglet/recipe.h"

#include <gtest/gtest.h>

#include "kinglet/pass.h"

namespace kinglet {
namespace {

std::string error_of(std::string_view yaml) {
  const auto recipe = parse_recipe(yaml, "r.yaml");
  return recipe ? "no error" : recipe.error().text();
}

TEST(Recipe, ReadsTargetsAndSteps) {
  const auto recipe = parse_recipe(
      "to: 60MB\nmax-kl: 0.05\nspeed: 1.5x\ntext: a.txt\nseed: 7\nsteps:\n  - quantize:\n      type: q4_k\n"
      "      tensors: {'blk.0.*': q8_0, token_embd.weight: q6_k}\n",
      "r.yaml");
  ASSERT_TRUE(recipe) << recipe.error().text();
  EXPECT_EQ(recipe->to_bytes, 60'000'000u);
  EXPECT_EQ(recipe->max_kl, 0.05);
  EXPECT_EQ(recipe->speed, 1.5);
  EXPECT_FALSE(recipe->bits);
  EXPECT_EQ(recipe->text, "a.txt");
  EXPECT_EQ(recipe->seed, 7u);
  ASSERT_EQ(recipe->steps.size(), 1u);
  EXPECT_EQ(recipe->steps[0].pass, "quantize");
  EXPECT_EQ(recipe->steps[0].options.find("type")->text, "q4_k");
  EXPECT_EQ(recipe->steps[0].options.find("tensors")->keys[0], "blk.0.*");
  EXPECT_EQ(recipe->steps[0].line, 7);
}

TEST(Recipe, TextOfARecipeReadsBackEqual) {
  const auto recipe =
      parse_recipe("bits: 3.25\nseed: 3\nsteps: [quantize: {type: q4_k, tensors: {'a: b': q8_0}}, quantize]", "");
  ASSERT_TRUE(recipe) << recipe.error().text();
  const std::string text = recipe_text(*recipe);
  const auto again = parse_recipe(text, "");
  ASSERT_TRUE(again) << again.error().text() << text;
  EXPECT_EQ(recipe_text(*again), text);
  EXPECT_EQ(again->bits, 3.25);
  EXPECT_EQ(again->steps[0].options, recipe->steps[0].options);
}

TEST(Recipe, NamesOfAnyFormReadBackEqual) {
  constexpr std::string_view kNames[] = {"token_embd.weight:",
                                         ":a",
                                         "a:b",
                                         "- a",
                                         "*",
                                         "&a",
                                         "?",
                                         "null",
                                         "~",
                                         "a #b",
                                         " a ",
                                         "'a'",
                                         "\"a\"",
                                         "a\\x01",
                                         "{a}",
                                         "%a",
                                         "1e3",
                                         "true",
                                         "é你",
                                         "a\tb\nc"};
  for (const std::string_view key : kNames) {
    Recipe recipe;
    RecipeNode types;
    types.set(key, RecipeNode::scalar("q8_0"));
    recipe.text = key;
    recipe.steps.push_back({"quantize", {}, 0});
    recipe.steps[0].options.set("tensors", types);
    const std::string text = recipe_text(recipe);
    const auto again = parse_recipe(text, "again");
    ASSERT_TRUE(again) << again.error().text() << text;
    EXPECT_EQ(again->text, key) << text;
    EXPECT_EQ(again->steps[0].options, recipe.steps[0].options) << text;
    EXPECT_EQ(recipe_text(*again), text);
  }
}

TEST(Recipe, ControlCharactersAreRefused) {
  const auto error = [](const std::string& name) {
    return error_of("seed: 1\nsteps:\n  - gptq:\n      tensors:\n        " + name + "\n");
  };
  EXPECT_NE(error(std::string("\"blk*\": q8\x01\0_0", 14)).find("r.yaml:5: a control character"), std::string::npos);
  EXPECT_NE(error("\"blk\\0*\": q8_0").find("r.yaml:5: a control character"), std::string::npos);
  EXPECT_NE(error("blk: \"q8\\x7F\"").find("r.yaml:5: a control character"), std::string::npos);
  EXPECT_NE(error("blk: \"\\uFFFE\"").find("r.yaml:5: a control character"), std::string::npos);
}

TEST(Recipe, ErrorsNameTheLine) {
  EXPECT_NE(error_of("seed: 1\nto: lots\n").find("r.yaml:2: expected a size, found 'lots'"), std::string::npos);
  EXPECT_NE(error_of("seed: 1\n\nbitz: 3\n").find("r.yaml:3: a recipe has no 'bitz'"), std::string::npos);
  EXPECT_NE(error_of("bits: 99\n").find("r.yaml:1: bits takes a number from 0.5 to 32, found '99'"), std::string::npos);
  EXPECT_NE(error_of("seed: -1\n").find("r.yaml:1: seed takes"), std::string::npos);
  EXPECT_NE(error_of("steps:\n  - quantise: {}\n").find("r.yaml:2: there is no pass 'quantise'"), std::string::npos);
  EXPECT_NE(error_of("steps:\n  - quantize:\n      typ: q4_k\n").find("r.yaml:3: quantize has no option 'typ'"),
            std::string::npos);
  EXPECT_NE(error_of("steps:\n  - quantize:\n      tensors: q4_k\n").find("r.yaml:3: tensors takes"),
            std::string::npos);
  EXPECT_NE(error_of("to: 1\nto: 2\n").find("r.yaml:2: 'to' stands twice"), std::string::npos);
  EXPECT_NE(error_of("a: [1\nb: 2\n").find("r.yaml:2"), std::string::npos);
  EXPECT_NE(error_of("- 1\n").find("r.yaml:1: expected a recipe"), std::string::npos);
  EXPECT_NE(error_of("to: 1\ntext: a\xff\n").find("r.yaml:2: a byte that is no UTF-8"), std::string::npos);
}

TEST(Recipe, RefusesWhatCouldUnfoldWithoutBound) {
  EXPECT_NE(error_of("a: &x [1, 1]\nb: *x\n").find("aliases"), std::string::npos);
  EXPECT_NE(error_of(std::string(5000, '[')).find("r.yaml:1"), std::string::npos);
  std::string wide = "a: [";
  for (int i = 0; i < 100'001; ++i) wide += "1,";
  EXPECT_NE(error_of(wide + "1]\n").find("more than 100,000 values"), std::string::npos);
  EXPECT_NE(error_of("a: 1\n---\nb: 1\n").find("one document"), std::string::npos);
}

TEST(Pattern, StarsStandForAnyText) {
  EXPECT_TRUE(matches_pattern("blk.*.ffn_down.weight", "blk.12.ffn_down.weight"));
  EXPECT_TRUE(matches_pattern("*", ""));
  EXPECT_TRUE(matches_pattern("*a*b", "xaaybab"));
  EXPECT_FALSE(matches_pattern("*a*b", "xaaybaba"));
  EXPECT_FALSE(matches_pattern("blk.1.*", "blk.12.x"));
  EXPECT_TRUE(matches_pattern("a", "a"));
  EXPECT_FALSE(matches_pattern("", "a"));
}

TEST(Blocks, AreTheEmbeddingTheLayersAndTheHead) {
  EXPECT_EQ(tensor_block("token_embd.weight", 4), 0);
  EXPECT_EQ(tensor_block("blk.0.attn_q.weight", 4), 1);
  EXPECT_EQ(tensor_block("blk.3.attn_q.weight", 4), 4);
  EXPECT_EQ(tensor_block("output.weight", 4), 5);
  EXPECT_EQ(tensor_block("blk.x", 4), 0);
}

}  // namespace
}  // namespace kinglet
