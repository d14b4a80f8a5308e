// Each kind of tokenizer on a vocabulary that fits on a screen.
#include <gtest/gtest.h>

#include "model/tokenizer/vocabularies.h"

namespace kinglet {
namespace {

using testing::bpe_metadata;
using testing::spm_metadata;
using testing::texts;

std::unique_ptr<Tokenizer> load(const Metadata& metadata) {
  auto tokenizer = load_tokenizer(metadata);
  EXPECT_TRUE(tokenizer) << tokenizer.error().text();
  return tokenizer ? std::move(*tokenizer) : nullptr;
}

std::string cut(const Tokenizer& tokenizer, std::string_view text, EncodeOptions options = {}) {
  return texts(tokenizer, tokenizer.encode(text, options));
}

TEST(BpeTokenizer, MergesTheLowestRankFirstAndOfEqualOnesTheLeftmost) {
  const auto tokenizer = load(bpe_metadata({"a a", "b c", "aa a", "a b"}));
  EXPECT_EQ(cut(*tokenizer, "aaaaa"), "aa|aaa");
  EXPECT_EQ(cut(*tokenizer, "abc"), "a|bc");
  EXPECT_EQ(cut(*tokenizer, "aab"), "aa|b");
}

TEST(BpeTokenizer, KeepsEveryByteOfIllFormedText) {
  const auto tokenizer = load(bpe_metadata({"a b"}));
  std::string bytes;
  for (int byte = 0; byte < 256; ++byte) bytes += static_cast<char>(byte);
  for (const std::string& text : {bytes, std::string("\xFF\xFE"), std::string("ab\xE2\x96 ab\xF0\x9F"), bytes + bytes})
    EXPECT_EQ(tokenizer->decode(tokenizer->encode(text)), text);
}

TEST(BpeTokenizer, ReadsControlTokensOnlyWhereAsked) {
  const auto tokenizer = load(bpe_metadata({}));
  EXPECT_EQ(tokenizer->encode("<|end|>").size(), 7u);
  EXPECT_EQ(cut(*tokenizer, "x<|end|>y", {.parse_special = true}), "x|<|end|>|y");
  EXPECT_EQ(cut(*tokenizer, "x<tool>y"), "x|<tool>|y");
}

TEST(BpeTokenizer, ControlTokensShowOnlyWhereAsked) {
  const auto tokenizer = load(bpe_metadata({}));
  const TokenId end = tokenizer->find("<|end|>");
  const std::vector<TokenId> ids = {tokenizer->find("x"), end, tokenizer->find("<tool>")};
  EXPECT_EQ(tokenizer->decode(ids), "x<tool>");
  EXPECT_EQ(tokenizer->decode(ids, true), "x<|end|><tool>");
  EXPECT_TRUE(tokenizer->is_control(end));
  EXPECT_TRUE(tokenizer->is_end(end));
  EXPECT_EQ(tokenizer->piece(-1), "");
  EXPECT_EQ(tokenizer->piece(1 << 20), "");
}

TEST(BpeTokenizer, NeverMergesOverTheEdgeOfAnAddedToken) {
  const auto tokenizer = load(bpe_metadata({"x y"}));
  EXPECT_EQ(cut(*tokenizer, "x<tool>y xy"), "x|<tool>|y|Ġ|xy");
}

TEST(BpeTokenizer, DropsAByteThatTheVocabularyLacks) {
  Metadata metadata = bpe_metadata({});
  auto tokens = **metadata.strings("tokenizer.ggml.tokens");
  tokens[4] = "[unused]";  // U+0104 stood for byte 4
  metadata.set_strings("tokenizer.ggml.tokens", tokens);
  const auto tokenizer = load(metadata);
  EXPECT_EQ(cut(*tokenizer, "a\x04!"), "a|!");
}

TEST(BpeTokenizer, TakesAWholeWordFirstWhereTheModelIgnoresMerges) {
  Metadata metadata = bpe_metadata({"a b"}, "llama-bpe");
  auto tokens = **metadata.strings("tokenizer.ggml.tokens");
  tokens[0] = "xyz";
  metadata.set_strings("tokenizer.ggml.tokens", tokens);
  EXPECT_EQ(cut(*load(metadata), "xyz"), "xyz");
  metadata.set_string("tokenizer.ggml.pre", "qwen2");
  EXPECT_EQ(cut(*load(metadata), "xyz"), "x|y|z");
}

TEST(SpmBpeTokenizer, JoinsTheBestScoreFirstAndFallsBackToBytes) {
  const auto tokenizer = load(spm_metadata({"ab", "bc", "a", "b", "c", "▁"}, false));
  EXPECT_EQ(cut(*tokenizer, "abc"), "ab|c");
  EXPECT_EQ(cut(*tokenizer, "bc a"), "bc|▁|a");
  EXPECT_EQ(cut(*tokenizer, "aé"), "a|<0xC3>|<0xA9>");
  EXPECT_EQ(tokenizer->decode(tokenizer->encode("aé bc")), "aé bc");
}

TEST(SpmBpeTokenizer, PutsASpaceBeforeATextAndTakesItAwayAgain) {
  const auto tokenizer = load(spm_metadata({"▁a", "a", "▁"}, true));
  EXPECT_EQ(cut(*tokenizer, "a"), "▁a");
  EXPECT_EQ(cut(*tokenizer, ""), "");
  EXPECT_EQ(tokenizer->decode(tokenizer->encode("a a")), "a a");
  EXPECT_EQ(cut(*tokenizer, "a", {.add_special = true}), "<s>|▁a");
}

TEST(SpmBpeTokenizer, ReplacesIllFormedBytesByOneCharacterAPart) {
  const auto tokenizer = load(spm_metadata({"\xEF\xBF\xBD", "a"}, false));
  EXPECT_EQ(cut(*tokenizer,
                "a\xF0\x9F\x98"
                "a"),
            "a|\xEF\xBF\xBD|a");
}

TEST(UnigramTokenizer, TakesTheHighestTotalScore) {
  Metadata metadata;
  metadata.set_string("tokenizer.ggml.model", "t5");
  metadata.set_strings("tokenizer.ggml.tokens", {"<pad>", "</s>", "<unk>", "▁", "▁ab", "abc", "c", "▁a", "bc"});
  metadata.set_integers("tokenizer.ggml.token_type", {3, 3, 2, 1, 1, 1, 1, 1, 1});
  metadata.set_numbers("tokenizer.ggml.scores", {0, 0, 0, -2, -3, -4, -2, -2.5, -2});
  metadata.set_integer("tokenizer.ggml.eos_token_id", 1);
  metadata.set_integer("tokenizer.ggml.unknown_token_id", 2);
  const auto tokenizer = load(metadata);
  EXPECT_EQ(cut(*tokenizer, "abc"), "▁a|bc");
  EXPECT_EQ(cut(*tokenizer, "  abc   c  "), "▁a|bc|▁|c");
  EXPECT_EQ(cut(*tokenizer, "cxyc", {.add_special = true}), "▁|c|<unk>|c|</s>");
  EXPECT_EQ(tokenizer->decode(tokenizer->encode("abc c")), "abc c");
}

Metadata bert_metadata() {
  Metadata metadata;
  metadata.set_string("tokenizer.ggml.model", "bert");
  metadata.set_strings("tokenizer.ggml.tokens",
                       {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "▁un", "aff", "able", "▁a", "▁.", "▁日", "a", "▁eta"});
  metadata.set_integers("tokenizer.ggml.token_type", {3, 2, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1});
  metadata.set_integer("tokenizer.ggml.unknown_token_id", 1);
  metadata.set_integer("tokenizer.ggml.bos_token_id", 2);
  metadata.set_integer("tokenizer.ggml.seperator_token_id", 3);
  return metadata;
}

TEST(WordPieceTokenizer, CoversWordsFromTheLeftByTheLongestPiece) {
  const auto tokenizer = load(bert_metadata());
  EXPECT_EQ(cut(*tokenizer, "UNAFFABLE."), "▁un|aff|able|▁.");
  EXPECT_EQ(cut(*tokenizer, "unx a"), "[UNK]|▁a");
  EXPECT_EQ(cut(*tokenizer, "Éta日a"), "▁eta|▁日|▁a");
  EXPECT_EQ(cut(*tokenizer, "a", {.add_special = true}), "[CLS]|▁a|[SEP]");
  EXPECT_EQ(tokenizer->decode(tokenizer->encode("unaffable a")), "unaffable a");
}

TEST(WordPieceTokenizer, GivesAWordOfMoreThanAHundredCharactersUp) {
  const auto tokenizer = load(bert_metadata());
  EXPECT_EQ(tokenizer->encode(std::string(100, 'a')).size(), 100u);
  EXPECT_EQ(cut(*tokenizer, std::string(101, 'a')), "[UNK]");
}

TEST(Tokenizer, EndsAreASetOfEosAndKnownTurnMarkers) {
  Metadata metadata = bpe_metadata({});
  auto tokens = **metadata.strings("tokenizer.ggml.tokens");
  auto types = **metadata.integers("tokenizer.ggml.token_type");
  tokens.insert(tokens.end(), {"<|im_end|>", "<|eot_id|>"});
  types.insert(types.end(), {3, 1});  // the second is ordinary text in this vocabulary
  metadata.set_strings("tokenizer.ggml.tokens", tokens);
  metadata.set_integers("tokenizer.ggml.token_type", types);
  metadata.set_integer("tokenizer.ggml.eom_token_id", 5);
  const auto tokenizer = load(metadata);
  EXPECT_EQ(tokenizer->end_ids, (std::vector<TokenId>{256, 5, 258}));
}

TEST(Tokenizer, PiecesJoinedAreTheDecodedText) {
  const auto tokenizer = load(bpe_metadata({"Ġ a", "b c"}));
  const auto ids = tokenizer->encode("bc a <tool>\n\xC3");
  std::string joined;
  for (TokenId id : ids) joined += tokenizer->piece(id);
  EXPECT_EQ(joined, tokenizer->decode(ids));
}

}  // namespace
}  // namespace kinglet
