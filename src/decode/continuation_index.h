// What followed each run of one to six tokens in a growing text.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "kinglet/tokenizer.h"

namespace kinglet {

/// Hash tables over the text's n-grams: adding a token and looking one up take constant time, whatever the length.
class ContinuationIndex {
 public:
  static constexpr int kLongest = 6;    ///< n-grams that are indexed
  static constexpr int kKept = 3;       ///< different continuations kept of each, the most recent ones
  static constexpr int kCompared = 24;  ///< longer matches are found to be so up to here

  struct Candidate {
    TokenId token = 0;
    std::uint32_t at = 0;  ///< where it stood
    int length = 0;        ///< tokens before it that agree with the context's end
  };
  using Candidates = std::array<Candidate, kKept>;

  /// Takes one more token of the text; the n-grams before it are continued by it.
  void push(TokenId token);
  void clear();
  std::span<const TokenId> text() const { return text_; }

  /// Different tokens that followed the longest ends of `context` in the text: longer matches first, then recent ones.
  /// `context` may be any tokens, such as the text's end and a proposal; the number found.
  int find(std::span<const TokenId> context, Candidates& out) const;

 private:
  struct Slot {
    std::uint64_t key = 0;
    std::array<std::uint32_t, kKept> at{};  ///< most recent first; 0: none (a continuation stands at 1 or later)
  };
  static std::uint64_t key(const TokenId* tokens, int length);
  std::size_t place(std::uint64_t key) const;
  void remember(std::uint64_t key, std::uint32_t at);
  void grow();

  std::vector<TokenId> text_;
  std::vector<Slot> slots_;  ///< open addressing; a power of two, at most half full
  std::size_t used_ = 0;
};

}  // namespace kinglet
