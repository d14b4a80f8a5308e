// What all tokenizers share: cutting out added tokens, normalising what lies between, BOS and EOS, and the way back.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "kinglet/tokenizer.h"
#include "model/tokenizer/added_tokens.h"
#include "model/tokenizer/merge.h"
#include "model/tokenizer/normalizer.h"
#include "model/tokenizer/vocabulary.h"

namespace kinglet {

/// Words that were encoded before in the same text, by their bytes.
class WordCache {
 public:
  static constexpr std::size_t kLongest = 27;
  explicit WordCache(std::size_t text_bytes);
  /// Appends the ids of an equal earlier word, or answers false.
  bool append(std::string_view word, std::uint64_t hash, std::vector<TokenId>& ids) const;
  /// Remembers that ids[first..] are the word's.
  void remember(std::string_view word, std::uint64_t hash, const std::vector<TokenId>& ids, std::size_t first);

 private:
  struct Entry {
    std::uint8_t size = 0;
    char bytes[kLongest];
    std::uint32_t count = 0;
    std::size_t first = 0;
  };
  std::vector<Entry> entries_;
};

/// One encode() under way.
struct Encoding {
  explicit Encoding(std::size_t text_bytes) : cache(text_bytes) {}
  std::vector<TokenId> ids;
  bool at_start = true;  ///< nothing of the text was encoded yet
  WordCache cache;
  std::vector<Symbol> symbols;
  std::vector<std::uint32_t> offsets;
  MergeScratch scratch;
};

/// What a loader gathers before it makes a tokenizer.
struct TokenizerParts {
  Vocabulary vocabulary;
  AddedTokens added;             ///< looked for in the text as it is
  AddedTokens added_normalized;  ///< looked for after normalising
  Normalizer normalizer;
};

/// The 256 tokens "<0x00>" to "<0xFF>" of type kByte, -1 where one is absent. kCorrupt where a token of that type has
/// another text.
Result<std::vector<TokenId>> find_byte_tokens(const Vocabulary& vocabulary);
/// The text with each U+2581 replaced by a space.
std::string spaces_of_marks(std::string_view text);
constexpr std::string_view kSpaceMark = "\xE2\x96\x81";

class BaseTokenizer : public Tokenizer {
 public:
  std::int32_t size() const override { return vocabulary_.size(); }
  std::vector<TokenId> encode(std::string_view text, EncodeOptions options) const final;
  std::string decode(std::span<const TokenId> ids, bool special) const final;
  std::string_view piece(TokenId id) const final;
  std::string_view text(TokenId id) const final { return vocabulary_.contains(id) ? vocabulary_.text(id) : ""; }
  bool is_control(TokenId id) const final;
  TokenId find(std::string_view text) const final { return vocabulary_.find(text); }

  /// Control or user-defined.
  bool is_special(TokenId id) const {
    return is_control(id) || (vocabulary_.contains(id) && vocabulary_.type(id) == TokenType::kUserDefined);
  }

  /// Control tokens that a template adds before and after a text, beyond BOS and EOS alone.
  std::vector<TokenId> prefix_ids, suffix_ids;

 protected:
  explicit BaseTokenizer(TokenizerParts parts);
  /// The ids of text without added tokens, appended to encoding.ids.
  virtual void encode_text(std::string_view text, Encoding& encoding) const = 0;
  /// To be called once by the constructor of each kind: the bytes of a normal or user-defined token.
  template <typename Piece>
  void make_pieces(const Piece& piece) {
    piece_offsets_.reserve(static_cast<std::size_t>(size()) + 1);
    for (TokenId id = 0; id < size(); ++id) {
      piece_offsets_.push_back(static_cast<std::uint32_t>(piece_bytes_.size()));
      const TokenType type = vocabulary_.type(id);
      if (type == TokenType::kNormal || type == TokenType::kUserDefined || type == TokenType::kByte)
        piece_bytes_ += piece(id);
    }
    piece_offsets_.push_back(static_cast<std::uint32_t>(piece_bytes_.size()));
    piece_bytes_.shrink_to_fit();
  }
  Vocabulary vocabulary_;
  bool strips_leading_space_ = false;  ///< decode() takes away the space that encode() put before the first word
  bool keeps_ill_formed_ = false;      ///< encode_text() takes ill-formed UTF-8; otherwise it never sees any

 private:
  void encode_between(std::string_view text, EncodeOptions options, Encoding& encoding) const;
  AddedTokens added_, added_normalized_;
  Normalizer normalizer_;
  std::string piece_bytes_;
  std::vector<std::uint32_t> piece_offsets_;
};

}  // namespace kinglet
