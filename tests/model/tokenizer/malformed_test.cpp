// What a hostile or damaged file may hold: each gives an error that says what is wrong, and never a crash.
#include <gtest/gtest.h>

#include <limits>

#include "model/tokenizer/vocabularies.h"

namespace kinglet {
namespace {

using testing::bpe_metadata;
using testing::spm_metadata;

void expect_error(const Metadata& metadata, ErrorCode code, std::string_view part) {
  const auto tokenizer = load_tokenizer(metadata);
  ASSERT_FALSE(tokenizer);
  EXPECT_EQ(tokenizer.error().code, code) << tokenizer.error().text();
  EXPECT_NE(tokenizer.error().text().find(part), std::string::npos) << tokenizer.error().text();
}

TEST(MalformedTokenizer, UnknownKindsAreNamed) {
  expect_error(Metadata(), ErrorCode::kCorrupt, "tokenizer.ggml.model");
  Metadata metadata = bpe_metadata({});
  metadata.set_string("tokenizer.ggml.pre", "somebody-elses");
  expect_error(metadata, ErrorCode::kUnsupported, "somebody-elses");
  metadata.erase("tokenizer.ggml.pre");
  expect_error(metadata, ErrorCode::kUnsupported, "tokenizer.ggml.pre");
  metadata.set_string("tokenizer.ggml.model", "rwkv");
  expect_error(metadata, ErrorCode::kUnsupported, "rwkv");
}

TEST(MalformedTokenizer, MergesMustNameTokensAndMakeOne) {
  Metadata metadata = bpe_metadata({"a b"});
  metadata.set_strings("tokenizer.ggml.merges", {"a b", "a zz"});
  expect_error(metadata, ErrorCode::kCorrupt, "merge 1 names \"zz\"");
  metadata.set_strings("tokenizer.ggml.merges", {"b a"});
  expect_error(metadata, ErrorCode::kCorrupt, "merge 0 makes \"ba\"");
  for (const char* merge : {"", " ", "a", "a ", "ab", "\xFF\xFF"}) {
    metadata.set_strings("tokenizer.ggml.merges", {merge});
    expect_error(metadata, ErrorCode::kCorrupt, "merge 0");
  }
}

TEST(MalformedTokenizer, MergesThatWouldMakeACycleAreRefused) {
  // A merge makes the text of both halves, so a cycle needs an empty half or a token that is not there.
  Metadata metadata = bpe_metadata({"a b"});
  metadata.set_strings("tokenizer.ggml.merges", {"a b", "ab a", "aba b"});
  expect_error(metadata, ErrorCode::kCorrupt, "merge 1 makes \"aba\"");
}

TEST(MalformedTokenizer, ARepeatedMergeKeepsItsFirstRank) {
  Metadata metadata = bpe_metadata({"a b", "b c"});
  metadata.set_strings("tokenizer.ggml.merges", {"a b", "b c", "a b"});
  const auto tokenizer = load_tokenizer(metadata);
  ASSERT_TRUE(tokenizer);
  EXPECT_EQ(testing::texts(**tokenizer, (*tokenizer)->encode("abc")), "ab|c");
}

TEST(MalformedTokenizer, EqualTokensAreRefused) {
  Metadata metadata = bpe_metadata({});
  auto tokens = **metadata.strings("tokenizer.ggml.tokens");
  tokens[7] = tokens[3];
  metadata.set_strings("tokenizer.ggml.tokens", tokens);
  expect_error(metadata, ErrorCode::kCorrupt, "tokens 3 and 7");
}

TEST(MalformedTokenizer, ByteTokensAreReadToTheLetter) {
  for (const char* text : {"<0x-1>", "<0x+1>", "<0x100>", "<0x1>", "<0xfg>", "<0x 1>", "x"}) {
    Metadata metadata = spm_metadata({"a"}, false);
    auto tokens = **metadata.strings("tokenizer.ggml.tokens");
    tokens[3 + 7] = text;
    metadata.set_strings("tokenizer.ggml.tokens", tokens);
    expect_error(metadata, ErrorCode::kCorrupt, "byte token");
  }
}

TEST(MalformedTokenizer, IdsMustLieInTheVocabulary) {
  for (const char* key : {"bos", "eos", "eot", "eom", "unknown", "padding"}) {
    Metadata metadata = bpe_metadata({});
    const std::string name = "tokenizer.ggml." + std::string(key) + "_token_id";
    for (std::int64_t id : {std::int64_t{258}, std::int64_t{-1}, std::int64_t{0xFFFFFFFF}}) {
      metadata.set_integer(name, id, MetadataType::kInt64);
      expect_error(metadata, ErrorCode::kCorrupt, name);
    }
  }
  Metadata metadata = bpe_metadata({});
  metadata.set_integers("tokenizer.ggml.eos_token_ids", {1, 258});
  expect_error(metadata, ErrorCode::kCorrupt, "eos_token_ids");
}

TEST(MalformedTokenizer, ListsMustHaveOneEntryAToken) {
  Metadata metadata = bpe_metadata({});
  metadata.set_integers("tokenizer.ggml.token_type", {1, 1});
  expect_error(metadata, ErrorCode::kCorrupt, "2 token types");
  metadata = bpe_metadata({});
  metadata.set_integers("tokenizer.ggml.token_type", std::vector<std::int64_t>(258, 9));
  expect_error(metadata, ErrorCode::kCorrupt, "is 9");
  metadata = spm_metadata({"a"}, false);
  metadata.set_numbers("tokenizer.ggml.scores", {0.0});
  expect_error(metadata, ErrorCode::kCorrupt, "1 scores");
  metadata.set_numbers("tokenizer.ggml.scores", std::vector<double>(260, std::numeric_limits<double>::quiet_NaN()));
  expect_error(metadata, ErrorCode::kCorrupt, "score");
  metadata.set_strings("tokenizer.ggml.tokens", {});
  expect_error(metadata, ErrorCode::kCorrupt, "no tokens");
  metadata.erase("tokenizer.ggml.tokens");
  expect_error(metadata, ErrorCode::kCorrupt, "tokenizer.ggml.tokens");
}

TEST(MalformedTokenizer, CountsHaveLimits) {
  Metadata metadata = bpe_metadata({});
  metadata.set_strings("tokenizer.ggml.tokens", std::vector<std::string>((1u << 21) + 1));
  expect_error(metadata, ErrorCode::kExhausted, "2097153 tokens");
  metadata = bpe_metadata({});
  auto tokens = **metadata.strings("tokenizer.ggml.tokens");
  tokens.back() = std::string(2000, 'x');  // a user-defined token
  metadata.set_strings("tokenizer.ggml.tokens", tokens);
  expect_error(metadata, ErrorCode::kCorrupt, "2000 bytes");
}

TEST(MalformedTokenizer, EmptyTokensAreNeverFound) {
  Metadata metadata = bpe_metadata({});
  auto tokens = **metadata.strings("tokenizer.ggml.tokens");
  tokens[256] = tokens[257] = "";
  metadata.set_strings("tokenizer.ggml.tokens", tokens);
  const auto tokenizer = load_tokenizer(metadata);
  ASSERT_TRUE(tokenizer);
  EXPECT_EQ((*tokenizer)->find(""), -1);
  EXPECT_EQ((*tokenizer)->encode("ab").size(), 2u);
}

TEST(MalformedTokenizer, CharacterMapsAreCheckedAsTheyAreRead) {
  Metadata metadata;
  metadata.set_string("tokenizer.ggml.model", "t5");
  metadata.set_strings("tokenizer.ggml.tokens", {"<pad>", "</s>", "<unk>", "▁a"});
  metadata.set_numbers("tokenizer.ggml.scores", {0, 0, 0, -1});
  metadata.set_integer("tokenizer.ggml.unknown_token_id", 2);
  for (const std::vector<std::int64_t>& blob :
       {std::vector<std::int64_t>{1, 2}, {255, 255, 255, 255, 0}, {5, 0, 0, 0, 1, 1, 1, 1, 1}}) {
    metadata.set_integers("tokenizer.ggml.precompiled_charsmap", blob, MetadataType::kUint8);
    expect_error(metadata, ErrorCode::kCorrupt, "character map");
  }
  // Units that point outside or in a circle: no error, but no harm either.
  std::vector<std::int64_t> wild = {8, 0, 0, 0, 255, 255, 255, 127, 97, 1, 0, 0, 'x'};
  metadata.set_integers("tokenizer.ggml.precompiled_charsmap", wild, MetadataType::kUint8);
  const auto tokenizer = load_tokenizer(metadata);
  ASSERT_TRUE(tokenizer) << tokenizer.error().text();
  (*tokenizer)->encode("aaaa \xFF bb");
}

void expect_hf_error(std::string_view json, ErrorCode code, std::string_view part) {
  Metadata metadata;
  metadata.set_string("tokenizer.huggingface.json", json);
  expect_error(metadata, code, part);
}

TEST(MalformedTokenizer, JsonFilesAreCheckedToo) {
  expect_hf_error("", ErrorCode::kCorrupt, "tokenizer.json");
  expect_hf_error("{}", ErrorCode::kCorrupt, "/model");
  expect_hf_error("[1]", ErrorCode::kCorrupt, "/model");
  expect_hf_error(R"({"model":{"type":"Char"}})", ErrorCode::kUnsupported, "Char");
  expect_hf_error(R"({"model":{"type":"BPE","vocab":[1],"merges":[]}})", ErrorCode::kCorrupt, "vocab");
  expect_hf_error(R"({"model":{"type":"BPE","vocab":{},"merges":[]}})", ErrorCode::kCorrupt, "no tokens");
  expect_hf_error(R"({"model":{"type":"BPE","vocab":{"a":-1},"merges":[]}})", ErrorCode::kCorrupt, "\"a\"");
  expect_hf_error(R"({"model":{"type":"BPE","vocab":{"a":1e9},"merges":[]}})", ErrorCode::kCorrupt, "\"a\"");
  expect_hf_error(R"({"model":{"type":"BPE","vocab":{"a":999999999},"merges":[]}})", ErrorCode::kCorrupt, "\"a\"");
  expect_hf_error(R"({"model":{"type":"BPE","vocab":{"a":0,"b":0},"merges":[]}})", ErrorCode::kCorrupt, "id 0");
  expect_hf_error(R"({"model":{"type":"BPE","vocab":{"a":0},"merges":["a a"]}})", ErrorCode::kCorrupt, "\"aa\"");
  expect_hf_error(R"({"model":{"type":"BPE","vocab":{"a":0},"merges":[["a"]]}})", ErrorCode::kCorrupt, "merges/0");
  expect_hf_error(R"({"model":{"type":"BPE","vocab":{"a":0}}})", ErrorCode::kCorrupt, "merges");
  expect_hf_error(R"({"model":{"type":"Unigram","vocab":[["a"]]}})", ErrorCode::kCorrupt, "vocab/0");
  expect_hf_error(R"({"added_tokens":[{"id":3}],"model":{"type":"BPE","vocab":{"a":0},"merges":[]}})",
                  ErrorCode::kCorrupt, "added_tokens/0");
}

TEST(MalformedTokenizer, ComponentsThatAreNotKnownAreNamed) {
  const std::string model = R"("model":{"type":"BPE","vocab":{"a":0},"merges":[]})";
  expect_hf_error("{" + model + R"(,"normalizer":{"type":"Nmt"}})", ErrorCode::kUnsupported, "Nmt");
  expect_hf_error("{" + model + R"(,"pre_tokenizer":{"type":"UnicodeScripts"}})", ErrorCode::kUnsupported,
                  "UnicodeScripts");
  expect_hf_error(
      "{" + model + R"(,"pre_tokenizer":{"type":"Split","pattern":{"Regex":"\\w+"},"behavior":"Isolated"}})",
      ErrorCode::kUnsupported, "\\\\w+");
  expect_hf_error(R"({"model":{"type":"WordPiece","vocab":{"a":0}}})", ErrorCode::kUnsupported, "pre-tokenizer");
}

}  // namespace
}  // namespace kinglet
