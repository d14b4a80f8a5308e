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
  std::uint32_t end;               ///< index behind the subtree
  std::uint32_t first_token : 24;  ///< its tokens: up to the next node's first_token
  std::uint32_t height : 8;        ///< most symbols below
  std::uint32_t below;        ///< of a trie of characters: the groups of those below, as character_group() has them
  std::uint32_t symbol : 24;  ///< a byte, or a code point
  std::uint32_t depth : 8;    ///< of its symbol: 0 for a token's first
};

/// Characters that patterns of strings tend to treat alike, in 32 groups. All from U+0080 on are one but for white
/// space (which `\s` takes, and whose U+2028 and U+2029 `.` leaves out): that is in kRareGroup, as is what is rare in
/// tokens.
unsigned character_group(std::uint32_t code);
inline constexpr unsigned kWideGroup = 0, kRareGroup = 1;
/// White space from U+0080 on, as ECMA-262 has it: first and last code points.
std::span<const std::pair<std::uint32_t, std::uint32_t>> wide_spaces();

struct Trie {
  std::vector<TrieNode> nodes;  ///< one more at the end
  std::vector<TokenId> tokens;
  std::vector<std::uint32_t> wide_roots;  ///< nodes of depth 0 beyond ASCII, of which there are very many
  /// kBlock of those each as if they were one node: `below` and `height` are of all, `symbol` is that of the last.
  std::vector<TrieNode> wide_blocks;
  static constexpr std::size_t kBlock = 64;
  /// The first node of depth 0 from `code` on; `code` is beyond ASCII.
  std::size_t root_from(std::uint32_t code) const;
};

class TokenTrie {
 public:
  static constexpr std::size_t kLongestToken = 255;  ///< bytes; longer tokens are never allowed
  static constexpr std::size_t kLengths = 64;
  static constexpr TokenId kMostTokens = 1 << 24;  ///< tokens from here on are never allowed
  explicit TokenTrie(const Tokenizer& tokenizer);

  std::size_t words() const { return words_; }
  const Trie& all() const { return all_; }
  /// The plain ones, by characters; the other tries are by bytes.
  const Trie& plain() const { return plain_trie_; }
  /// Of the others those that do not leave a string: escapes, and parts of characters.
  const Trie& inner() const { return inner_; }
  /// Those with a quote that ends the string.
  const Trie& leaving() const { return leaving_; }
  /// Of the plain ones those that hold no character of kRareGroup, as bits, and the others.
  std::span<const std::uint64_t> common() const { return common_; }
  const Trie& rare() const { return rare_; }
  /// All that are not plain.
  const Trie& special() const { return special_; }
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
  void add_plain(std::uint64_t length, TokenId id);
  void find_common();

  std::size_t words_ = 0;
  std::uint64_t longest_plain_ = 0, longest_ = 0;
  std::vector<TokenId> uncommon_;
  Trie all_, plain_trie_, rare_, inner_, leaving_, special_;
  std::vector<std::uint64_t> common_;
  std::vector<std::uint64_t> plain_;  ///< kLengths + 1 bitsets, then all
  std::vector<std::uint8_t> text_;
  std::vector<std::uint32_t> offsets_;
  std::vector<TokenId> end_ids_;
  std::vector<std::pair<std::uint64_t, TokenId>> long_plain_;
};

}  // namespace kinglet::grammar
