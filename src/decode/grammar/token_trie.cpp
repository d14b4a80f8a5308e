#include "decode/grammar/token_trie.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "decode/grammar/dfa.h"

namespace kinglet::grammar {
namespace {

// The characters of a text that a JSON string holds as it is; 0: it does not.
std::uint64_t plain_length(std::string_view text) {
  bool ascii = true;
  for (const char c : text) {
    const auto byte = static_cast<std::uint8_t>(c);
    if (byte < 0x20 || c == '"' || c == '\\') return 0;
    ascii = ascii && byte < 0x80;
  }
  if (ascii) return text.size();
  const auto codes = decode_utf8(text);
  return codes ? codes->size() : 0;
}

enum class InString { kStays, kLeaves, kNever };

// What a text is that is read between two characters of a JSON string.
InString within_string(std::string_view text) {
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '"') return InString::kLeaves;
    if (static_cast<std::uint8_t>(text[i]) < 0x20) return InString::kNever;
    if (text[i] == '\\') ++i;
  }
  return InString::kStays;
}

std::array<std::uint8_t, 128> make_groups() {
  std::array<std::uint8_t, 128> groups{};
  groups.fill(kRareGroup);
  std::uint8_t next = 2;
  for (const std::string_view group : {"0123456789",
                                       "abcdef",
                                       "ghijklmnopqrstuvwxyz",
                                       "ABCDEF",
                                       "GHIJKLMNOPQRSTUVWXYZ",
                                       " ",
                                       ".",
                                       "-",
                                       "_",
                                       "/",
                                       ":",
                                       "@",
                                       "#",
                                       "+",
                                       "=",
                                       ",",
                                       ";",
                                       "&",
                                       "%",
                                       "?",
                                       "!",
                                       "*",
                                       "$",
                                       "~",
                                       "'",
                                       "()",
                                       "[]",
                                       "{}",
                                       "<>",
                                       "|^"}) {
    for (const char c : group) groups[static_cast<std::uint8_t>(c)] = next;
    ++next;
  }
  return groups;
}

using Words = std::vector<std::pair<std::string_view, TokenId>>;  ///< ascending

/// `symbols` of a word are those of the nodes on its path.
template <typename Symbols>
Trie build(const Words& words, Symbols symbols) {
  Trie trie;
  std::vector<std::uint32_t> path;
  std::vector<std::uint32_t> word, before;
  const auto close = [&](std::size_t depth) {
    while (path.size() > depth) {
      const TrieNode node = trie.nodes[path.back()];
      trie.nodes[path.back()].end = static_cast<std::uint32_t>(trie.nodes.size());
      path.pop_back();
      if (path.empty()) continue;
      TrieNode& above = trie.nodes[path.back()];
      above.below |= node.below | 1u << character_group(node.symbol);
      above.height = std::max<std::uint32_t>(above.height, node.height + 1);
    }
  };
  for (const auto& [text, id] : words) {
    symbols(text, word);
    const auto common = static_cast<std::size_t>(
        std::mismatch(word.begin(), word.end(), before.begin(), before.end()).first - word.begin());
    close(common);
    const auto first = static_cast<std::uint32_t>(trie.tokens.size());
    for (std::size_t k = common; k < word.size(); ++k) {
      if (k == 0 && word[k] >= 0x80) trie.wide_roots.push_back(static_cast<std::uint32_t>(trie.nodes.size()));
      path.push_back(static_cast<std::uint32_t>(trie.nodes.size()));
      trie.nodes.push_back({.end = 0,
                            .first_token = first,
                            .height = 0,
                            .below = 0,
                            .symbol = word[k],
                            .depth = static_cast<std::uint32_t>(k)});
    }
    trie.tokens.push_back(id);
    std::swap(before, word);
  }
  close(0);
  trie.nodes.push_back({0, static_cast<std::uint32_t>(trie.tokens.size()), 0, 0, 0, 0});
  for (std::size_t i = 0; i < trie.wide_roots.size(); ++i) {
    const TrieNode& root = trie.nodes[trie.wide_roots[i]];
    if (i % Trie::kBlock == 0) trie.wide_blocks.push_back(root);
    TrieNode& block = trie.wide_blocks.back();
    block.end = root.end;
    block.below |= root.below;
    block.height = std::max<std::uint32_t>(block.height, root.height);
    block.symbol = root.symbol;
  }
  return trie;
}

Trie build_of_bytes(const Words& words) {
  return build(words, [](std::string_view text, std::vector<std::uint32_t>& out) {
    out.clear();
    for (const char c : text) out.push_back(static_cast<std::uint8_t>(c));
  });
}

// Bytes in order are code points in order.
Trie build_of_characters(const Words& words) {
  return build(words, [](std::string_view text, std::vector<std::uint32_t>& out) {
    out.clear();
    for (std::size_t i = 0; i < text.size(); ++i) {
      const auto byte = static_cast<std::uint8_t>(text[i]);
      if ((byte & 0xC0) == 0x80)
        out.back() = out.back() << 6 | (byte & 0x3Fu);
      else
        out.push_back(byte < 0x80 ? byte : byte < 0xE0 ? byte & 0x1Fu : byte < 0xF0 ? byte & 0x0Fu : byte & 0x07u);
    }
  });
}

constexpr std::pair<std::uint32_t, std::uint32_t> kWideSpaces[] = {{0xA0, 0xA0},     {0x1680, 0x1680}, {0x2000, 0x200A},
                                                                   {0x2028, 0x2029}, {0x202F, 0x202F}, {0x205F, 0x205F},
                                                                   {0x3000, 0x3000}, {0xFEFF, 0xFEFF}};

}  // namespace

std::span<const std::pair<std::uint32_t, std::uint32_t>> wide_spaces() { return kWideSpaces; }

unsigned character_group(std::uint32_t code) {
  static const std::array<std::uint8_t, 128> groups = make_groups();
  if (code < groups.size()) return groups[code];
  for (const auto& [first, last] : kWideSpaces)
    if (code >= first && code <= last) return kRareGroup;
  return kWideGroup;
}

std::size_t Trie::root_from(std::uint32_t code) const {
  const auto at = std::lower_bound(wide_roots.begin(), wide_roots.end(), code,
                                   [&](std::uint32_t node, std::uint32_t c) { return nodes[node].symbol < c; });
  return at == wide_roots.end() ? nodes.size() - 1 : *at;
}

TokenTrie::TokenTrie(const Tokenizer& tokenizer) {
  const TokenId size = tokenizer.size();
  words_ = (static_cast<std::size_t>(size) + 63) / 64;
  plain_.assign(words_ * (kLengths + 2), 0);
  Words all, plain, inner, leaving, special;
  for (TokenId id = 0; id < size; ++id) {
    offsets_.push_back(static_cast<std::uint32_t>(text_.size()));
    if (tokenizer.is_control(id) || tokenizer.is_end(id) || id >= kMostTokens) continue;
    const std::string_view piece = tokenizer.piece(id);
    if (piece.empty() || piece.size() > kLongestToken) continue;
    text_.insert(text_.end(), piece.begin(), piece.end());
    all.emplace_back(piece, id);
    longest_ = std::max<std::uint64_t>(longest_, piece.size());
    if (piece.size() > kCommonBytes) uncommon_.push_back(id);
  }
  offsets_.push_back(static_cast<std::uint32_t>(text_.size()));
  std::sort(all.begin(), all.end());
  for (const auto& [piece, id] : all) {
    const std::uint64_t length = plain_length(piece);
    if (length > 0) {
      plain.emplace_back(piece, id);
      add_plain(length, id);
      continue;
    }
    special.emplace_back(piece, id);
    if (const InString kind = within_string(piece); kind != InString::kNever)
      (kind == InString::kStays ? inner : leaving).emplace_back(piece, id);
  }
  for (std::size_t at = words_; at < words_ * (kLengths + 1); ++at) plain_[at] |= plain_[at - words_];
  all_ = build_of_bytes(all);
  plain_trie_ = build_of_characters(plain);
  find_common();
  inner_ = build_of_bytes(inner);
  leaving_ = build_of_bytes(leaving);
  special_ = build_of_bytes(special);
  for (const TokenId id : tokenizer.end_ids)
    if (id >= 0 && id < size) end_ids_.push_back(id);
  std::sort(end_ids_.begin(), end_ids_.end());
}

void TokenTrie::find_common() {
  std::vector<std::pair<std::string_view, TokenId>> rare;
  common_.assign(words_, 0);
  bool path[kLongestToken + 2] = {};  // by depth: a rare character stands above
  for (std::size_t i = 0; i + 1 < plain_trie_.nodes.size(); ++i) {
    const TrieNode& node = plain_trie_.nodes[i];
    const bool is_rare = path[node.depth + 1] = path[node.depth] || character_group(node.symbol) == kRareGroup;
    for (std::uint32_t t = node.first_token; t < plain_trie_.nodes[i + 1].first_token; ++t) {
      const TokenId id = plain_trie_.tokens[t];
      const auto text = bytes(id);
      if (is_rare)
        rare.emplace_back(std::string_view(reinterpret_cast<const char*>(text.data()), text.size()), id);
      else
        common_[static_cast<std::size_t>(id) / 64] |= std::uint64_t{1} << (id % 64);
    }
  }
  rare_ = build_of_characters(rare);
}

void TokenTrie::add_plain(std::uint64_t length, TokenId id) {
  const auto set = [&](std::size_t row) {
    plain_[row * words_ + static_cast<std::size_t>(id) / 64] |= std::uint64_t{1} << (id % 64);
  };
  longest_plain_ = std::max(longest_plain_, length);
  set(kLengths + 1);
  if (length <= kLengths)
    set(static_cast<std::size_t>(length));
  else
    long_plain_.emplace_back(length, id);
}

std::span<const std::uint64_t> TokenTrie::plain(std::uint64_t characters) const {
  const std::size_t row = characters >= longest_plain_ ? kLengths + 1 : std::min<std::size_t>(characters, kLengths);
  return std::span(plain_).subspan(row * words_, words_);
}

std::span<const std::uint8_t> TokenTrie::bytes(TokenId id) const {
  const auto at = static_cast<std::size_t>(id);
  if (id < 0 || at + 1 >= offsets_.size()) return {};
  return std::span(text_).subspan(offsets_[at], offsets_[at + 1] - offsets_[at]);
}

bool TokenTrie::is_end(TokenId id) const { return std::binary_search(end_ids_.begin(), end_ids_.end(), id); }

}  // namespace kinglet::grammar
