// A vocabulary of single bytes, and the check that the fuzz targets of grammars share.
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
  }
  std::string_view kind() const override { return "bytes"; }
  std::int32_t size() const override { return 257; }
  std::vector<TokenId> encode(std::string_view, EncodeOptions) const override { return {}; }
  std::string decode(std::span<const TokenId>, bool) const override { return {}; }
  std::string_view piece(TokenId id) const override {
    return id >= 0 && id < 256 ? std::string_view(pieces_[static_cast<std::size_t>(id)]) : std::string_view();
  }
  std::string_view text(TokenId id) const override { return piece(id); }
  bool is_control(TokenId id) const override { return id == eos; }
  TokenId find(std::string_view) const override { return -1; }

 private:
  std::vector<std::string> pieces_;
};

/// The input is a grammar, a zero byte, and a text. Budgets are parts of the real ones, so that what is refused is
/// refused soon, and masks, which ask for every byte, are made at some places of the text only.
template <typename Compile>
int check_grammar(const std::uint8_t* data, std::size_t size, Compile compile) {
  constexpr std::size_t kMostInput = 4096, kMostText = 64, kMaskEvery = 4;
  grammar::Budget::most_steps = 200'000;
  grammar::StateSpace::most_work = 20'000;
  static const auto vocabulary = std::make_shared<const GrammarVocabulary>(ByteTokenizer());
  if (size > kMostInput) return -1;  // not kept
  const std::string_view all(reinterpret_cast<const char*>(data), size);
  const std::size_t zero = all.find('\0');
  const std::string_view text =
      zero == std::string_view::npos ? std::string_view() : all.substr(zero + 1).substr(0, kMostText);
  const auto grammar = compile(all.substr(0, zero));
  if (!grammar) return 0;
  GrammarMatcher matcher(*grammar, vocabulary, std::size_t{1} << 20);
  bool accepted = true;
  for (std::size_t i = 0; accepted && i < text.size(); ++i) {
    const auto id = static_cast<TokenId>(static_cast<std::uint8_t>(text[i]));
    const bool asked = i % kMaskEvery == 0;
    const bool allowed = asked && (matcher.mask()[static_cast<std::size_t>(id) / 64] >> (id % 64) & 1) != 0;
    accepted = matcher.accept(id);
    if (asked && allowed != accepted) std::abort();
  }
  if (GrammarMatcher(*grammar, vocabulary).matches(text) != (accepted && matcher.is_complete())) std::abort();
  return 0;
}

}  // namespace kinglet
