// A small vocabulary for tests of grammars.
#pragma once

#include <memory>
#include <random>
#include <string>
#include <vector>

#include "kinglet/grammar.h"

namespace kinglet::test {

/// Single bytes, and pieces that cross the borders of JSON's tokens.
class PieceTokenizer final : public Tokenizer {
 public:
  PieceTokenizer() {
    for (int b = 0; b < 256; ++b) pieces_.emplace_back(1, static_cast<char>(b));
    for (const char* p : {"{\"", "\":", "\": \"", "\", \"", "\"}",  "name", "na",  "me\"", "age",      " ",
                          "  ",  "12",  "123",    "true",   "null", "], [", "é",   "日本", "\xE6\x97", "ab",
                          "aba", "\\n", "\\u00",  "\\\"",   "0.5",  "-1",   "e+1", "}}",   "[]"})
      pieces_.emplace_back(p);
    std::mt19937 random(7);
    for (int i = 0; i < 60; ++i) {
      std::string piece;
      for (unsigned k = 2 + random() % 3; k > 0; --k) piece += "ab\"{}[]:, 01.e-\\n"[random() % 17];
      pieces_.push_back(piece);
    }
    pieces_.emplace_back(40, 'a');
    pieces_.emplace_back(std::string(34, 'b') + "\", ");
    pieces_.emplace_back();
    eos = size() - 1;
    end_ids = {eos};
  }
  static const PieceTokenizer& instance() {
    static const PieceTokenizer made;
    return made;
  }
  std::string_view kind() const override { return "pieces"; }
  std::int32_t size() const override { return static_cast<std::int32_t>(pieces_.size()); }
  std::vector<TokenId> encode(std::string_view, EncodeOptions) const override { return {}; }
  std::string decode(std::span<const TokenId>, bool) const override { return {}; }
  std::string_view piece(TokenId id) const override { return pieces_[static_cast<std::size_t>(id)]; }
  std::string_view text(TokenId id) const override { return piece(id); }
  bool is_control(TokenId id) const override { return id == eos; }
  TokenId find(std::string_view) const override { return -1; }

 private:
  std::vector<std::string> pieces_;
};

inline std::shared_ptr<const GrammarVocabulary> piece_vocabulary() {
  static const auto made = std::make_shared<const GrammarVocabulary>(PieceTokenizer::instance());
  return made;
}

}  // namespace kinglet::test
