// A vocabulary of bytes and some pieces, and the check that the fuzz targets of grammars share.
#pragma once

#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "decode/grammar/dfa.h"
#include "decode/grammar/state_space.h"
#include "kinglet/grammar.h"

namespace kinglet {

class ByteTokenizer final : public Tokenizer {
 public:
  ByteTokenizer() {
    for (int b = 0; b < 256; ++b) pieces_.emplace_back(1, static_cast<char>(b));
    eos = 256;
    end_ids = {eos};
    pieces_.emplace_back();
    for (const char* piece : {"ab", "a\"", "\", \"", "é",  "日", "\\u00", "{\"",  "  ", "aaa", "\xE6\x97",
                              "[0", "1.5", "\\n",    "}}", "()", "..",    "\": ", "ot", "-0",  "\"]"})
      pieces_.emplace_back(piece);
    pieces_.emplace_back(40, 'a');
  }
  std::string_view kind() const override { return "bytes"; }
  std::int32_t size() const override { return static_cast<std::int32_t>(pieces_.size()); }
  std::vector<TokenId> encode(std::string_view, EncodeOptions) const override { return {}; }
  std::string decode(std::span<const TokenId>, bool) const override { return {}; }
  std::string_view piece(TokenId id) const override {
    return id >= 0 && id < size() ? std::string_view(pieces_[static_cast<std::size_t>(id)]) : std::string_view();
  }
  std::string_view text(TokenId id) const override { return piece(id); }
  bool is_control(TokenId id) const override { return id == eos; }
  TokenId find(std::string_view) const override { return -1; }

 private:
  std::vector<std::string> pieces_;
};

inline bool in_mask(std::span<const std::uint64_t> mask, TokenId id) {
  return (mask[static_cast<std::size_t>(id) / 64] >> (id % 64) & 1) != 0;
}

/// Feeds `text` byte by byte. At some places the mask has to say what the matcher then takes, for the byte and for one
/// piece. False where the work was given up: then nothing can be said.
inline bool feed(GrammarMatcher& matcher, const Tokenizer& tokenizer, std::string_view text, bool& accepted) {
  constexpr std::size_t kMaskEvery = 4;
  constexpr TokenId kFirstPiece = 257;
  for (std::size_t i = 0; accepted && i < text.size(); ++i) {
    const auto id = static_cast<TokenId>(static_cast<std::uint8_t>(text[i]));
    if (i % kMaskEvery != 0) {
      accepted = matcher.accept(id);
      if (matcher.failure()) return false;
      continue;
    }
    const TokenId piece = kFirstPiece + (id + static_cast<TokenId>(i)) % (tokenizer.size() - kFirstPiece);
    const auto mask = matcher.mask();
    if (matcher.failure()) return false;
    const bool allowed = in_mask(mask, id), piece_allowed = in_mask(mask, piece);
    const bool piece_accepted = matcher.accept(piece);
    if (matcher.failure()) return false;
    if (piece_accepted) matcher.rollback(1);
    accepted = matcher.accept(id);
    if (matcher.failure()) return false;
    if (allowed != accepted || piece_allowed != piece_accepted) std::abort();
  }
  return true;
}

/// The input is a grammar, a zero byte, and a text. Budgets are small parts of the real ones, so that what is refused
/// is refused soon: with sanitizers, an execution is to take a millisecond and not a tenth of a second.
template <typename Compile>
int check_grammar(const std::uint8_t* data, std::size_t size, Compile compile) {
  constexpr std::size_t kMostInput = 1024, kMostText = 64;
  grammar::Budget::most_steps = 40'000;
  grammar::StateSpace::most_work = 4'000;
  static const ByteTokenizer tokenizer;
  static const auto vocabulary = std::make_shared<const GrammarVocabulary>(tokenizer);
  if (size > kMostInput) return -1;  // not kept
  const std::string_view all(reinterpret_cast<const char*>(data), size);
  const std::size_t zero = all.find('\0');
  const std::string_view text =
      zero == std::string_view::npos ? std::string_view() : all.substr(zero + 1).substr(0, kMostText);
  const auto grammar = compile(all.substr(0, zero));
  if (!grammar) return 0;
  GrammarMatcher matcher(*grammar, vocabulary, std::size_t{1} << 20), fresh(*grammar, vocabulary);
  bool accepted = true;
  if (!feed(matcher, tokenizer, text, accepted)) return 0;
  const bool matches = fresh.matches(text);
  if (!fresh.failure() && matches != (accepted && matcher.is_complete())) std::abort();
  return 0;
}

}  // namespace kinglet
