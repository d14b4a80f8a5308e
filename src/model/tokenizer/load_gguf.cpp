// Tokenizers from GGUF's tokenizer.ggml.* keys.
#include <algorithm>

#include "base/try.h"
#include "model/tokenizer/load.h"
#include "model/tokenizer/unicode.h"

namespace kinglet {
namespace {

Result<Vocabulary> read_vocabulary(const Metadata& metadata) {
  KINGLET_TRY(const auto* tokens, metadata.strings("tokenizer.ggml.tokens"));
  if (tokens == nullptr)
    return fail(ErrorCode::kCorrupt, "the file has no tokenizer.ggml.tokens",
                "The file may hold an adapter or an unfinished conversion: fetch the whole model.");
  KINGLET_TRY(const auto* numbers, metadata.integers("tokenizer.ggml.token_type"));
  KINGLET_TRY(const auto* scores, metadata.numbers("tokenizer.ggml.scores"));
  std::vector<TokenType> types;
  for (std::size_t k = 0; numbers != nullptr && k < numbers->size(); ++k) {
    const std::int64_t type = (*numbers)[k];
    if (type < 0 || type > 6)
      return fail(ErrorCode::kCorrupt, "tokenizer.ggml.token_type of token " + std::to_string(k) + " is " +
                                           std::to_string(type) + ", not 0 to 6");
    types.push_back(type == 0 ? TokenType::kNormal : static_cast<TokenType>(type));
  }
  std::vector<float> values;
  if (scores != nullptr) values.assign(scores->begin(), scores->end());
  return Vocabulary::make(*tokens, std::move(types), std::move(values));
}

Result<TokenizerParts> read_parts(const Metadata& metadata) {
  TokenizerParts parts;
  KINGLET_TRY(parts.vocabulary, read_vocabulary(metadata));
  const Vocabulary& vocabulary = parts.vocabulary;
  for (TokenId id = 0; id < vocabulary.size(); ++id) {
    const TokenType type = vocabulary.type(id);
    if (type != TokenType::kControl && type != TokenType::kUserDefined && type != TokenType::kUnknown) continue;
    AddedToken token{.id = id, .text = std::string(vocabulary.text(id)), .special = type != TokenType::kUserDefined};
    KINGLET_CHECK(parts.added.add(token));
  }
  return parts;
}

std::string marks_of_spaces(std::string_view text) {
  std::string out;
  for (char c : text) {
    if (c == ' ')
      out += kSpaceMark;
    else
      out += c;
  }
  return out;
}

Result<MergeTexts> read_merges(const Metadata& metadata) {
  KINGLET_TRY(const auto* lines, metadata.strings("tokenizer.ggml.merges"));
  if (lines == nullptr) return fail(ErrorCode::kCorrupt, "the file has no tokenizer.ggml.merges");
  MergeTexts merges;
  merges.reserve(lines->size());
  for (std::size_t k = 0; k < lines->size(); ++k) {
    const std::string_view line = (*lines)[k];
    const std::size_t space = line.find(' ', 1);
    if (space == line.npos || space + 1 == line.size())
      return fail(ErrorCode::kCorrupt, "merge " + std::to_string(k) + " is not two tokens with a space between");
    merges.emplace_back(line.substr(0, space), line.substr(space + 1));
  }
  return merges;
}

TokenizerResult load_bpe(const Metadata& metadata, TokenizerParts parts) {
  KINGLET_TRY(const std::string name, metadata.string_or("tokenizer.ggml.pre", ""));
  const auto pre_tokenizer = find_pre_tokenizer(name);
  if (!pre_tokenizer)
    return fail(ErrorCode::kUnsupported,
                name.empty()
                    ? "the file does not say how it cuts words (no tokenizer.ggml.pre)"
                    : "the pre-tokenizer \"" + unicode::replace_ill_formed(name.substr(0, 80)) + "\" is not known",
                "Known are gpt-2, smollm, llama-bpe, qwen2 and their equals (docs/tokenizers.md).");
  KINGLET_TRY(const MergeTexts merges, read_merges(metadata));
  BpeOptions options;
  options.pre_tokenizer = *pre_tokenizer;
  // Files without the key mean what llama.cpp takes: a BPE text has no prefix.
  KINGLET_TRY(options.add_prefix_space, metadata.flag_or("tokenizer.ggml.add_space_prefix", false));
  const bool llama3 = name == "llama-bpe" || name == "llama3" || name == "llama-v3" || name == "falcon3";
  options.ignore_merges = llama3;
  KINGLET_TRY(auto tokenizer, make_bpe(std::move(parts), merges, options));
  tokenizer->adds_bos = llama3;
  return tokenizer;
}

TokenizerResult load_spm(const Metadata& metadata, TokenizerParts parts) {
  // As in SentencePiece, user-defined tokens are found in the text whose spaces are U+2581 already.
  AddedTokens special, defined;
  for (TokenId id = 0; id < parts.vocabulary.size(); ++id) {
    const TokenType type = parts.vocabulary.type(id);
    AddedToken token{.id = id, .text = std::string(parts.vocabulary.text(id)), .special = true};
    if (type == TokenType::kControl || type == TokenType::kUnknown) KINGLET_CHECK(special.add(token));
    if (type != TokenType::kUserDefined) continue;
    token.special = false;
    token.text = marks_of_spaces(token.text);
    KINGLET_CHECK(defined.add(token));
  }
  parts.added = std::move(special);
  parts.added_normalized = std::move(defined);
  SentencePieceOptions options;
  options.byte_fallback = true;
  KINGLET_TRY(options.add_prefix_space, metadata.flag_or("tokenizer.ggml.add_space_prefix", true));
  if (options.add_prefix_space) {
    Normalizer::Step prefix;
    prefix.kind = Normalizer::Kind::kPrepend;
    prefix.to = kSpaceMark;
    parts.normalizer.add(std::move(prefix));
  }
  Normalizer::Step marks;
  marks.kind = Normalizer::Kind::kReplace;
  marks.from = " ";
  marks.to = kSpaceMark;
  parts.normalizer.add(std::move(marks));
  KINGLET_TRY(const std::int64_t unknown,
              metadata.integer_or("tokenizer.ggml.unknown_token_id", -1, 0, parts.vocabulary.size() - 1));
  options.unknown = static_cast<TokenId>(unknown);
  KINGLET_TRY(auto tokenizer, make_spm_bpe(std::move(parts), options));
  tokenizer->adds_bos = true;
  return tokenizer;
}

TokenizerResult load_unigram(const Metadata& metadata, TokenizerParts parts) {
  SentencePieceOptions options;
  options.single_precision = true;
  options.byte_fallback = true;
  KINGLET_TRY(options.add_prefix_space, metadata.flag_or("tokenizer.ggml.add_space_prefix", true));
  KINGLET_TRY(options.remove_extra_spaces, metadata.flag_or("tokenizer.ggml.remove_extra_whitespaces", true));
  KINGLET_TRY(const std::int64_t unknown,
              metadata.integer_or("tokenizer.ggml.unknown_token_id", 2, 0, parts.vocabulary.size() - 1));
  options.unknown = static_cast<TokenId>(std::min<std::int64_t>(unknown, parts.vocabulary.size() - 1));
  KINGLET_TRY(const auto* bytes, metadata.integers("tokenizer.ggml.precompiled_charsmap"));
  if (bytes != nullptr) {
    std::string blob;
    for (std::int64_t byte : *bytes) blob += static_cast<char>(byte);
    Normalizer::Step step;
    step.kind = Normalizer::Kind::kCharacterMap;
    KINGLET_TRY(step.map, CharacterMap::parse(blob));
    parts.normalizer.add(std::move(step));
  }
  KINGLET_TRY(auto tokenizer, make_unigram(std::move(parts), options));
  tokenizer->adds_eos = true;
  return tokenizer;
}

TokenizerResult load_wordpiece(const Metadata& metadata, TokenizerParts parts) {
  using Kind = Normalizer::Kind;
  for (Kind kind : {Kind::kBertClean, Kind::kBertChinese, Kind::kNfd, Kind::kStripAccents, Kind::kLowercase})
    parts.normalizer.add(kind);
  WordPieceOptions options;
  options.continuation = "";
  KINGLET_TRY(const std::int64_t unknown,
              metadata.integer_or("tokenizer.ggml.unknown_token_id", parts.vocabulary.find("[UNK]"), 0,
                                  parts.vocabulary.size() - 1));
  options.unknown = static_cast<TokenId>(unknown);
  const TokenId begin = parts.vocabulary.find("[CLS]"), end = parts.vocabulary.find("[SEP]");
  KINGLET_TRY(auto tokenizer, make_wordpiece(std::move(parts), options));
  tokenizer->bos = begin;
  tokenizer->eos = end;
  tokenizer->unknown = options.unknown;
  tokenizer->adds_bos = tokenizer->adds_eos = true;
  return tokenizer;
}

}  // namespace

TokenizerResult load_gguf_tokenizer(const Metadata& metadata) {
  KINGLET_TRY(const std::string model, metadata.string_or("tokenizer.ggml.model", ""));
  TokenizerResult (*load)(const Metadata&, TokenizerParts) = nullptr;
  if (model == "gpt2") load = load_bpe;
  if (model == "llama") load = load_spm;
  if (model == "t5") load = load_unigram;
  if (model == "bert") load = load_wordpiece;
  if (load == nullptr)
    return fail(model.empty() ? ErrorCode::kCorrupt : ErrorCode::kUnsupported,
                model.empty()
                    ? "the file has no tokenizer (no tokenizer.ggml.model)"
                    : "the tokenizer model \"" + unicode::replace_ill_formed(model.substr(0, 80)) + "\" is not known",
                "Known are gpt2, llama, t5 and bert.");
  KINGLET_TRY(TokenizerParts parts, read_parts(metadata));
  KINGLET_TRY(auto tokenizer, load(metadata, std::move(parts)));
  KINGLET_CHECK(read_special_ids(metadata, *tokenizer));
  return tokenizer;
}

}  // namespace kinglet
