// A vocabulary's bytes as a trie in depth-first order, and as tries of what tokens are to a JSON string: plain
// characters, other text within it, or text that ends it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "kinglet/tokenizer.h"

namespace kinglet::grammar {

struct TrieNode {
  std::uint32_t end;          ///< index behind the subtree
  std::uint32_t first_token;  ///< its tokens: up to the next node's first_token
  std::uint32_t below;        ///< the groups of the bytes below, as character_group() has them
  std::uint8_t byte, depth;   ///< depth of its byte: 0 for a token's first
  std::uint8_t height;        ///< most bytes below
};

/// Bytes that patterns of strings tend to treat alike, in 32 groups. All of 128 and above are one; kRareGroup has what
/// is rare in tokens, with the separators U+2028 and U+2029 (which "." leaves out) for texts that hold them.
unsigned character_group(std::uint8_t byte);
inline constexpr unsigned kWideGroup = 0, kRareGroup = 1;

struct Trie {
  std::vector<TrieNode> nodes;  ///< one more at the end
  std::vector<TokenId> tokens;
};

class TokenTrie {
 public:
  static constexpr std::size_t kLongestToken = 255;  ///< bytes; longer tokens are never allowed
  static constexpr std::size_t kLengths = 64;
  explicit TokenTrie(const Tokenizer& tokenizer);

  std::size_t words() const { return words_; }
  const Trie& all() const { return all_; }
  /// The plain ones.
  const Trie& plain() const { return plain_trie_; }
  /// Of the others those that do not leave a string: escapes, and parts of characters.
  const Trie& inner() const { return inner_; }
  /// Those with a quote that ends the string.
  const Trie& leaving() const { return leaving_; }
  /// Tokens of at most `characters` plain characters.
  std::span<const std::uint64_t> plain(std::uint64_t characters) const;
  /// Plain tokens of more than kLengths characters.
  std::span<const std::pair<std::uint64_t, TokenId>> long_plain() const { return long_plain_; }
  std::uint64_t longest_plain() const { return longest_plain_; }
  /// Bytes of the longest token.
  std::uint64_t longest() const { return longest_; }
  /// Tokens of more than kCommonBytes bytes.
  static constexpr std::size_t kCommonBytes = 32;
  std::span<const TokenId> uncommon() const { return uncommon_; }
  std::span<const std::uint8_t> bytes(TokenId id) const;
  std::span<const TokenId> end_ids() const { return end_ids_; }
  bool is_end(TokenId id) const;

 private:
  std::size_t words_ = 0;
  std::uint64_t longest_plain_ = 0, longest_ = 0;
  std::vector<TokenId> uncommon_;
  Trie all_, plain_trie_, inner_, leaving_;
  std::vector<std::uint64_t> plain_;  ///< kLengths + 1 bitsets, then all
  std::vector<std::uint8_t> text_;
  std::vector<std::uint32_t> offsets_;
  std::vector<TokenId> end_ids_;
  std::vector<std::pair<std::uint64_t, TokenId>> long_plain_;
};

}  // namespace kinglet::grammar
