// The kinds of tokenizer, as the loaders make them.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "model/tokenizer/base_tokenizer.h"
#include "model/tokenizer/pretokenizer.h"

namespace kinglet {

using TokenizerResult = Result<std::unique_ptr<BaseTokenizer>>;
/// A merge as the texts of its two halves, in order of rank: views into what is being loaded.
using MergeTexts = std::vector<std::pair<std::string_view, std::string_view>>;

struct BpeOptions {
  /// Words are written in the 256 printable characters that stand for bytes ("Ġ" for a space). Otherwise the first
  /// symbols are characters, and a character that is no token falls back to byte tokens, then to `unknown`.
  bool byte_level = true;
  PreTokenizer pre_tokenizer = PreTokenizer::kGpt2;
  bool add_prefix_space = false;  ///< byte level: a space before a text that has none
  bool ignore_merges = false;     ///< a word that is a token as a whole is not merged
  bool byte_fallback = false;
  bool fuse_unknown = false;  ///< neighbouring unknown characters give one token
  TokenId unknown = -1;
  bool mark_prefix = false;        ///< U+2581 before a text that does not begin with it
  bool prefix_first_only = false;  ///< only at the very start of the text
  bool marks_spaces = false;       ///< U+2581 in a token means a space
  bool strips_leading_space = false;
};
/// kCorrupt where a merge names a token that does not exist or makes one that does not exist.
TokenizerResult make_bpe(TokenizerParts parts, const MergeTexts& merges, const BpeOptions& options);

struct SentencePieceOptions {
  bool add_prefix_space = true;      ///< U+2581 before a text (after each added token too)
  bool remove_extra_spaces = false;  ///< unigram: runs of spaces become one, those at the ends go
  bool split_words = false;          ///< unigram: each word by itself, as Metaspace in a tokenizer.json
  bool prefix_first_only = false;    ///< unigram: the prefix only at the very start of the text
  bool byte_fallback = false;
  bool single_precision = false;  ///< unigram: sums of scores in f32, as SentencePiece keeps them
  TokenId unknown = -1;
};
/// SentencePiece's BPE; the normaliser must have made U+2581 of the spaces and put the prefix. Of the pairs whose join
/// is a token, the one of the highest score first.
TokenizerResult make_spm_bpe(TokenizerParts parts, const SentencePieceOptions& options);
/// SentencePiece's unigram model: the tokens of the highest total score.
TokenizerResult make_unigram(TokenizerParts parts, const SentencePieceOptions& options);

struct WordPieceOptions {
  /// Continuations begin with this; "" where the vocabulary marks the starts of words by U+2581 instead (GGUF).
  std::string continuation = "##";
  std::size_t longest_word = 100;  ///< in characters; a longer word is unknown
  TokenId unknown = -1;
};
TokenizerResult make_wordpiece(TokenizerParts parts, const WordPieceOptions& options);

/// The Unicode character that stands for a byte in a byte-level vocabulary.
char32_t byte_character(std::uint8_t byte);

}  // namespace kinglet
