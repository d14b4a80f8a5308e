// Tokenizers from a Hugging Face tokenizer.json: vocabulary, added tokens, and who adds what around a text. Its
// normaliser and pre-tokenizer are read by load_hf_pipeline.cpp.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/json.h"
#include "base/try.h"
#include "model/tokenizer/load.h"
#include "model/tokenizer/load_hf.h"

namespace kinglet {
namespace {

using hf::Json;

/// Ids may have holes (added tokens above the vocabulary), but not out of proportion to the file.
constexpr std::size_t kMostHoles = 1 << 16;

struct Tokens {
  std::vector<std::string> texts;
  std::vector<TokenType> types;
  std::vector<float> scores;
  std::size_t count = 0;

  Result<void> set(std::string_view text, const Json& id_value, TokenType type) {
    if (!id_value.is_number_unsigned() ||
        id_value.get<std::uint64_t>() > std::min(Vocabulary::kMostTokens, 2 * count + kMostHoles))
      return fail(ErrorCode::kCorrupt, "tokenizer.json: the id of token \"" + std::string(text.substr(0, 80)) +
                                           "\" is not a number in proportion to the vocabulary");
    const auto id = id_value.get<std::size_t>();
    if (id >= texts.size()) {
      texts.resize(id + 1);
      types.resize(id + 1, TokenType::kUnused);
    }
    if (!texts[id].empty() && texts[id] != text)
      return fail(ErrorCode::kCorrupt, "tokenizer.json: two tokens have the id " + std::to_string(id));
    texts[id] = text;
    types[id] = type;
    return {};
  }
};

Result<void> read_vocabulary(const Json& model, std::string_view kind, Tokens& tokens) {
  const Json* vocabulary = hf::member(model, "vocab");
  if (kind == "Unigram") {
    if (vocabulary == nullptr || !vocabulary->is_array())
      return fail(ErrorCode::kCorrupt, "tokenizer.json: /model/vocab is not a list");
    tokens.count = vocabulary->size();
    for (const Json& entry : *vocabulary) {
      if (!entry.is_array() || entry.size() != 2 || !entry[0].is_string() || !entry[1].is_number())
        return fail(ErrorCode::kCorrupt, "tokenizer.json: /model/vocab/" + std::to_string(tokens.texts.size()) +
                                             " is not a text and a score");
      tokens.texts.push_back(entry[0].get_ref<const std::string&>());
      tokens.types.push_back(TokenType::kNormal);
      tokens.scores.push_back(static_cast<float>(entry[1].get<double>()));
    }
    return {};
  }
  if (vocabulary == nullptr || !vocabulary->is_object())
    return fail(ErrorCode::kCorrupt, "tokenizer.json: /model/vocab is not an object");
  tokens.count = vocabulary->size();
  for (const auto& [text, id] : vocabulary->items()) KINGLET_CHECK(tokens.set(text, id, TokenType::kNormal));
  return {};
}

void mark_byte_tokens(Tokens& tokens) {
  auto is_hex = [](char c) { return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'F'); };
  for (std::size_t k = 0; k < tokens.texts.size(); ++k) {
    const std::string& text = tokens.texts[k];
    if (text.size() == 6 && text.starts_with("<0x") && text[5] == '>' && is_hex(text[3]) && is_hex(text[4]))
      tokens.types[k] = TokenType::kByte;
  }
}

Result<std::vector<AddedToken>> read_added(const Json& root, Tokens& tokens) {
  std::vector<AddedToken> added;
  const Json* list = hf::member(root, "added_tokens");
  if (list == nullptr || list->is_null()) return added;
  if (!list->is_array()) return fail(ErrorCode::kCorrupt, "tokenizer.json: /added_tokens is not a list");
  tokens.count += list->size();
  for (const Json& entry : *list) {
    const Json* id = hf::member(entry, "id");
    AddedToken token;
    token.text = hf::text_of(entry, "content");
    if (id == nullptr || token.text.empty())
      return fail(ErrorCode::kCorrupt,
                  "tokenizer.json: /added_tokens/" + std::to_string(added.size()) + " has no id or no content");
    token.special = hf::flag_of(entry, "special", false);
    token.strips_left = hf::flag_of(entry, "lstrip", false);
    token.strips_right = hf::flag_of(entry, "rstrip", false);
    token.single_word = hf::flag_of(entry, "single_word", false);
    token.normalized = hf::flag_of(entry, "normalized", false);
    KINGLET_CHECK(tokens.set(token.text, *id, token.special ? TokenType::kControl : TokenType::kUserDefined));
    token.id = id->get<TokenId>();
    added.push_back(std::move(token));
  }
  return added;
}

Result<MergeTexts> read_merges(const Json& model) {
  const Json* list = hf::member(model, "merges");
  if (list == nullptr || !list->is_array())
    return fail(ErrorCode::kCorrupt, "tokenizer.json: /model/merges is not a list");
  MergeTexts merges;
  merges.reserve(list->size());
  for (const Json& entry : *list) {
    std::string_view left, right;
    if (entry.is_string()) {
      const std::string_view line = entry.get_ref<const std::string&>();
      const std::size_t space = line.find(' ');
      if (space != line.npos && line.find(' ', space + 1) == line.npos)
        left = line.substr(0, space), right = line.substr(space + 1);
    } else if (entry.is_array() && entry.size() == 2 && entry[0].is_string() && entry[1].is_string()) {
      left = entry[0].get_ref<const std::string&>(), right = entry[1].get_ref<const std::string&>();
    }
    if (left.empty() || right.empty())
      return fail(ErrorCode::kCorrupt,
                  "tokenizer.json: /model/merges/" + std::to_string(merges.size()) + " is not two tokens");
    merges.emplace_back(left, right);
  }
  return merges;
}

TokenizerResult make(const Json& model, std::string_view kind, TokenizerParts parts, hf::Pipeline pipeline) {
  const Vocabulary& vocabulary = parts.vocabulary;
  const TokenId unknown = vocabulary.find(hf::text_of(model, "unk_token"));
  if (kind == "BPE") {
    KINGLET_TRY(const MergeTexts merges, read_merges(model));
    BpeOptions options = pipeline.bpe;
    options.ignore_merges = hf::flag_of(model, "ignore_merges", false);
    options.byte_fallback = hf::flag_of(model, "byte_fallback", false);
    options.fuse_unknown = hf::flag_of(model, "fuse_unk", false);
    options.unknown = unknown;
    if (!hf::text_of(model, "continuing_subword_prefix").empty() || !hf::text_of(model, "end_of_word_suffix").empty())
      return fail(ErrorCode::kUnsupported, "tokenizer.json: BPE with continuing_subword_prefix or end_of_word_suffix");
    return make_bpe(std::move(parts), merges, options);
  }
  if (kind == "WordPiece") {
    WordPieceOptions options;
    options.continuation = hf::text_of(model, "continuing_subword_prefix");
    if (options.continuation.empty()) options.continuation = "##";
    if (const Json* most = hf::member(model, "max_input_chars_per_word"); most != nullptr && most->is_number_unsigned())
      options.longest_word = static_cast<std::size_t>(std::min<std::uint64_t>(most->get<std::uint64_t>(), 100000));
    options.unknown = unknown;
    KINGLET_TRY(auto tokenizer, make_wordpiece(std::move(parts), options));
    tokenizer->unknown = unknown;
    return tokenizer;
  }
  SentencePieceOptions options = pipeline.unigram;
  options.byte_fallback = hf::flag_of(model, "byte_fallback", false);
  if (const Json* id = hf::member(model, "unk_id"); id != nullptr && id->is_number_unsigned())
    if (id->get<std::uint64_t>() < static_cast<std::uint64_t>(vocabulary.size())) options.unknown = id->get<TokenId>();
  return make_unigram(std::move(parts), options);
}

/// What tokenizer_config.json calls its tokens: a text, or an object with the text as content.
TokenId named_token(const Json& config, const char* name, const BaseTokenizer& tokenizer) {
  const Json* value = hf::member(config, name);
  if (value == nullptr) return -1;
  return tokenizer.find(value->is_string() ? value->get_ref<const std::string&>() : hf::text_of(*value, "content"));
}

Result<void> read_config(const Metadata& metadata, BaseTokenizer& tokenizer) {
  tokenizer.adds_bos = !tokenizer.prefix_ids.empty();
  tokenizer.adds_eos = !tokenizer.suffix_ids.empty();
  if (tokenizer.adds_bos) tokenizer.bos = tokenizer.prefix_ids.front();
  if (tokenizer.adds_eos) tokenizer.eos = tokenizer.suffix_ids.back();
  KINGLET_TRY(const std::string text, metadata.string_or("tokenizer.huggingface.config.json", ""));
  if (text.empty()) return {};
  KINGLET_TRY(const Json config, parse_json(text, "tokenizer_config.json"));
  auto name = [&](const char* key, TokenId& id) {
    if (const TokenId named = named_token(config, key, tokenizer); named >= 0) id = named;
  };
  const bool bert = tokenizer.kind() == "wordpiece";
  name(bert ? "cls_token" : "bos_token", tokenizer.bos);
  name(bert ? "sep_token" : "eos_token", tokenizer.eos);
  name("unk_token", tokenizer.unknown);
  name("pad_token", tokenizer.padding);
  return {};
}

}  // namespace

TokenizerResult load_hf_tokenizer(const Metadata& metadata) {
  KINGLET_TRY(const std::string text, metadata.string("tokenizer.huggingface.json"));
  KINGLET_TRY(const Json root, parse_json(text, "tokenizer.json"));
  const Json* model = hf::member(root, "model");
  if (model == nullptr) return fail(ErrorCode::kCorrupt, "tokenizer.json has no /model");
  std::string kind = hf::text_of(*model, "type");
  if (kind.empty()) {  // files before 2020 do not say
    kind = hf::member(*model, "merges") != nullptr ? "BPE" : "WordPiece";
    if (const Json* vocabulary = hf::member(*model, "vocab"); vocabulary != nullptr && vocabulary->is_array())
      kind = "Unigram";
  }
  if (kind != "BPE" && kind != "WordPiece" && kind != "Unigram")
    return fail(ErrorCode::kUnsupported, "tokenizer.json: the model type \"" + kind.substr(0, 80) + "\" is not known",
                "Known are BPE, WordPiece and Unigram.");

  Tokens tokens;
  KINGLET_CHECK(read_vocabulary(*model, kind, tokens));
  if (hf::flag_of(*model, "byte_fallback", false)) mark_byte_tokens(tokens);
  KINGLET_TRY(const std::vector<AddedToken> added, read_added(root, tokens));
  tokens.scores.resize(tokens.scores.empty() ? 0 : tokens.texts.size());
  TokenizerParts parts;
  KINGLET_TRY(parts.vocabulary, Vocabulary::make(tokens.texts, std::move(tokens.types), std::move(tokens.scores)));
  KINGLET_TRY(hf::Pipeline pipeline, hf::read_pipeline(root, kind));
  parts.normalizer = std::move(pipeline.normalizer);
  for (AddedToken token : added) {
    if (token.normalized && !parts.normalizer.is_identity()) {
      token.text = parts.normalizer.apply(token.text);
      KINGLET_CHECK(parts.added_normalized.add(token));
    } else {
      KINGLET_CHECK(parts.added.add(token));
    }
  }
  hf::Template around = hf::read_template(root, parts.vocabulary);
  KINGLET_TRY(auto tokenizer, make(*model, kind, std::move(parts), std::move(pipeline)));
  tokenizer->prefix_ids = std::move(around.prefix);
  tokenizer->suffix_ids = std::move(around.suffix);
  KINGLET_CHECK(read_config(metadata, *tokenizer));
  KINGLET_CHECK(read_special_ids(metadata, *tokenizer));
  return tokenizer;
}

}  // namespace kinglet
