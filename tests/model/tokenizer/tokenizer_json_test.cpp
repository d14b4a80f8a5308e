// Tokenizers from a tokenizer.json.
#include <gtest/gtest.h>

#include "model/tokenizer/vocabularies.h"

namespace kinglet {
namespace {

using testing::texts;

std::unique_ptr<Tokenizer> load(std::string_view json, std::string_view config = "") {
  Metadata metadata;
  metadata.set_string("tokenizer.huggingface.json", json);
  if (!config.empty()) metadata.set_string("tokenizer.huggingface.config.json", config);
  auto tokenizer = load_tokenizer(metadata);
  EXPECT_TRUE(tokenizer) << tokenizer.error().text();
  return tokenizer ? std::move(*tokenizer) : nullptr;
}

std::string cut(const Tokenizer& tokenizer, std::string_view text, EncodeOptions options = {}) {
  return texts(tokenizer, tokenizer.encode(text, options));
}

TEST(TokenizerJson, ReadsByteLevelBpeWithItsExpression) {
  const auto tokenizer = load(R"({
    "added_tokens":[{"id":6,"content":"<s>","special":true},{"id":7,"content":"<t>","special":false}],
    "pre_tokenizer":{"type":"Sequence","pretokenizers":[{"type":"Split","pattern":{"Regex":
      "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"},
      "behavior":"Isolated","invert":false},{"type":"ByteLevel","add_prefix_space":false,"use_regex":false}]},
    "model":{"type":"BPE","vocab":{"a":0,"b":1,"Ġ":2,"ab":3,"1":4,"11":5},"merges":["a b",["1","1"]]}})",
                              R"({"bos_token":{"content":"<s>"},"eos_token":"<t>"})");
  EXPECT_EQ(cut(*tokenizer, "ab ab11"), "ab|Ġ|ab|1|1");
  EXPECT_EQ(cut(*tokenizer, "a<s>b<t>"), "a|b|<t>");
  EXPECT_EQ(cut(*tokenizer, "a<s>b<t>", {.parse_special = true}), "a|<s>|b|<t>");
  EXPECT_EQ(tokenizer->bos, 6);
  EXPECT_EQ(tokenizer->eos, 7);
  EXPECT_EQ(tokenizer->decode(tokenizer->encode("ab a<t>")), "ab a<t>");
}

TEST(TokenizerJson, ReadsBpeWithByteFallback) {
  const auto tokenizer = load(R"({
    "normalizer":{"type":"Sequence","normalizers":[{"type":"Prepend","prepend":"▁"},
      {"type":"Replace","pattern":{"String":" "},"content":"▁"}]},
    "decoder":{"type":"Sequence","decoders":[{"type":"Strip","content":" ","start":1,"stop":0}]},
    "post_processor":{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<s>","type_id":0}},{"Sequence":{"id":"A"}}]},
    "added_tokens":[{"id":1,"content":"<s>","special":true}],
    "model":{"type":"BPE","unk_token":"<unk>","byte_fallback":true,"fuse_unk":true,
      "vocab":{"<unk>":0,"<s>":1,"<0xC3>":2,"<0xA9>":3,"▁":4,"a":5,"▁a":6},"merges":[["▁","a"]]}})");
  EXPECT_EQ(cut(*tokenizer, "a aé", {.add_special = true}), "<s>|▁a|▁a|<0xC3>|<0xA9>");
  EXPECT_EQ(cut(*tokenizer, "xya"), "▁|<unk>|a");
  EXPECT_EQ(tokenizer->decode(tokenizer->encode("a aé")), "a aé");
  EXPECT_TRUE(tokenizer->adds_bos);
}

TEST(TokenizerJson, ReadsUnigramWithMetaspace) {
  const auto tokenizer = load(R"({
    "pre_tokenizer":{"type":"Metaspace","replacement":"▁","prepend_scheme":"always","split":true},
    "model":{"type":"Unigram","unk_id":0,"vocab":[["<unk>",0.0],["▁",-2.0],["a",-2.5],["▁a",-3.0],["b",-1.5],["ab",-3.5]]}})");
  EXPECT_EQ(cut(*tokenizer, "ab a"), "▁a|b|▁a");
  EXPECT_EQ(cut(*tokenizer, "xab"), "▁|<unk>|ab");
}

TEST(TokenizerJson, ReadsWordPieceWithItsTemplate) {
  const auto tokenizer = load(R"({
    "normalizer":{"type":"BertNormalizer","clean_text":true,"handle_chinese_chars":true,"strip_accents":null,"lowercase":true},
    "pre_tokenizer":{"type":"BertPreTokenizer"},
    "post_processor":{"type":"BertProcessing","sep":["[SEP]",2],"cls":["[CLS]",1]},
    "added_tokens":[{"id":0,"content":"[UNK]","special":true},{"id":1,"content":"[CLS]","special":true},
      {"id":2,"content":"[SEP]","special":true}],
    "model":{"type":"WordPiece","unk_token":"[UNK]","max_input_chars_per_word":5,
      "vocab":{"[UNK]":0,"[CLS]":1,"[SEP]":2,"un":3,"##do":4,"!":5}}})");
  EXPECT_EQ(cut(*tokenizer, "Undo! ÜN", {.add_special = true}), "[CLS]|un|##do|!|un|[SEP]");
  EXPECT_EQ(cut(*tokenizer, "undodo"), "[UNK]");
  EXPECT_EQ(tokenizer->decode(tokenizer->encode("undo un")), "undo un");
}

TEST(TokenizerJson, AddedTokensObeyTheirFlags) {
  const auto tokenizer = load(R"({
    "normalizer":{"type":"Lowercase"},
    "added_tokens":[{"id":3,"content":"<l>","lstrip":true},{"id":4,"content":"<r>","rstrip":true},
      {"id":5,"content":"one","single_word":true},{"id":6,"content":"N","normalized":true}],
    "pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false,"use_regex":true},
    "model":{"type":"BPE","vocab":{"a":0,"Ġ":1,"n":2,"o":7,"e":8},"merges":[]}})");
  EXPECT_EQ(cut(*tokenizer, "a  <l> a"), "a|<l>|Ġ|a");
  EXPECT_EQ(cut(*tokenizer, "a <r>  a"), "a|Ġ|<r>|a");
  EXPECT_EQ(cut(*tokenizer, "one aone"), "one|Ġ|a|o|N|e");
}

}  // namespace
}  // namespace kinglet
