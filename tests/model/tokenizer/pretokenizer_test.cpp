// The words that the pre-tokenizers cut; the expectations are what the regular expressions of the models give.
#include <gtest/gtest.h>

#include "model/tokenizer/pretokenizer.h"

namespace kinglet {
namespace {

std::string words(PreTokenizer kind, std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const std::size_t size = next_word(kind, text);
    EXPECT_GE(size, 1u);
    EXPECT_LE(size, text.size());
    out += "[" + std::string(text.substr(0, size)) + "]";
    text.remove_prefix(size);
  }
  return out;
}

TEST(PreTokenizer, Gpt2LeavesTheLastSpaceToTheWord) {
  EXPECT_EQ(words(PreTokenizer::kGpt2, "Hello  world 123!?"), "[Hello][ ][ world][ 123][!?]");
  EXPECT_EQ(words(PreTokenizer::kGpt2, "a\n\nb  "), "[a][\n][\n][b][  ]");
  EXPECT_EQ(words(PreTokenizer::kGpt2, "we'll WE'LL 's"),
            "[we]['ll][ WE]['][LL][ ']"
            "[s]");
  EXPECT_EQ(words(PreTokenizer::kGpt2, "été 日本"), "[été][ 日本]");
}

TEST(PreTokenizer, SmollmCutsDigitsOffBeforeAnythingElse) {
  EXPECT_EQ(words(PreTokenizer::kSmollm, "a  12 b"), "[a][  ][1][2][ b]");
  EXPECT_EQ(words(PreTokenizer::kSmollm, "x½٣"), "[x][½][٣]");
}

TEST(PreTokenizer, Qwen2TakesOneCharacterBeforeLettersAndDigitsAlone) {
  EXPECT_EQ(words(PreTokenizer::kQwen2, "(abc) 12\tx"), "[(abc][)][ ][1][2][\tx]");
  EXPECT_EQ(words(PreTokenizer::kQwen2, "I'LL it'S"), "[I]['LL][ it]['S]");
  EXPECT_EQ(words(PreTokenizer::kQwen2, "x \n\n  y"), "[x][ \n\n][ ][ y]");
  EXPECT_EQ(words(PreTokenizer::kQwen2, "!!\n\nz"), "[!!\n\n][z]");
}

TEST(PreTokenizer, Llama3TakesDigitsByThrees) { EXPECT_EQ(words(PreTokenizer::kLlama3, "1234567"), "[123][456][7]"); }

TEST(PreTokenizer, IllFormedBytesAreCharactersOfNoClass) {
  EXPECT_EQ(words(PreTokenizer::kGpt2, "a\xFF\xFE b"), "[a][\xFF\xFE][ b]");
  EXPECT_EQ(words(PreTokenizer::kQwen2,
                  "\xF0\x9F"
                  "a"),
            "[\xF0\x9F"
            "a]");
}

TEST(PreTokenizer, NamesAreKnownOrRefused) {
  EXPECT_EQ(find_pre_tokenizer("llama-bpe"), PreTokenizer::kLlama3);
  EXPECT_EQ(find_pre_tokenizer("qwen2"), PreTokenizer::kQwen2);
  EXPECT_EQ(find_pre_tokenizer("smollm"), PreTokenizer::kSmollm);
  EXPECT_EQ(find_pre_tokenizer("gpt-2"), PreTokenizer::kGpt2);
  EXPECT_FALSE(find_pre_tokenizer("somebody-elses"));
  EXPECT_FALSE(find_pre_tokenizer_of_expression("\\w+"));
}

}  // namespace
}  // namespace kinglet
