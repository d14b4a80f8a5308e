// Which tokens of a vocabulary a state allows.
#include <algorithm>

#include "decode/grammar/runner.h"

namespace kinglet::grammar {
namespace {

/// A mask is put together from those of its stacks where so few of them are strings.
constexpr std::size_t kMostStrings = 16;

void set_bit(std::vector<std::uint64_t>& bits, TokenId id, bool value = true) {
  const std::uint64_t bit = std::uint64_t{1} << (id % 64);
  std::uint64_t& word = bits[static_cast<std::size_t>(id) / 64];
  word = value ? word | bit : word & ~bit;
}

}  // namespace

void Runner::walk(const Trie& trie, StateId state, Bits& bits) {
  StateId path[TokenTrie::kLongestToken + 2];
  path[0] = state;
  const std::size_t count = trie.nodes.size() - 1;
  for (std::size_t i = 0; i < count;) {
    const TrieNode& node = trie.nodes[i];
    const StateId next = space_.step(path[node.depth], node.byte);
    if (next == kDead) {
      i = node.end;
      continue;
    }
    path[node.depth + 1] = next;
    for (std::uint32_t t = node.first_token; t < trie.nodes[i + 1].first_token; ++t) set_bit(bits, trie.tokens[t]);
    ++i;
  }
}

// Plain tokens stay within the string, so their part of the mask is the string's alone; the others may leave it.
void Runner::fill_string(StateId state, const CharTerminal& string, const Frame& frame, Bits& bits) {
  if (const std::uint64_t plain = string.plain_characters(frame.state); plain > 0) {
    const auto words = trie_.plain(plain);
    bits.assign(words.begin(), words.end());
    for (const auto& [length, id] : trie_.long_plain())
      if (length <= plain) set_bit(bits, id);
  } else {
    const auto [place, fresh] = plain_masks_.try_emplace({frame.node, {frame.state.a, frame.state.b}});
    if (fresh) {
      place->second.assign(trie_.words(), 0);
      string.allow_plain(frame.state, trie_.plain(), place->second);
      mask_bytes_ += place->second.size() * 8 + 96;
    }
    bits = place->second;
  }
  walk(trie_.special(), state, bits);
}

void Runner::fill(StateId state, Bits& bits) {
  strings_.clear(), others_.clear();
  for (const std::uint32_t top : space_.tops(state)) {
    const CharTerminal* string = space_.terminal(top).json_string();
    (string != nullptr && string->inside(space_.frame(top).state) ? strings_ : others_).push_back(top);
  }
  if (strings_.size() == 1 && others_.empty()) {
    const Frame frame = space_.frame(strings_[0]);
    fill_string(state, *space_.terminal(strings_[0]).json_string(), frame, bits);
    return;
  }
  bits.assign(trie_.words(), 0);
  if (strings_.empty() || strings_.size() > kMostStrings) {
    walk(trie_.all(), state, bits);
    return;
  }
  const std::vector<std::uint32_t> strings = strings_, others = others_;
  if (!others.empty()) walk(trie_.all(), space_.subset(others), bits);
  for (const std::uint32_t top : strings) {
    const Mask& one = mask_of(space_.subset({&top, 1}));
    for (std::size_t word = 0; word < bits.size(); ++word) bits[word] |= one.bits[word];
  }
}

// The mask came from a state that is alike for tokens of at most kCommonBytes.
void Runner::recheck_uncommon(StateId state, Bits& bits) {
  for (const TokenId id : trie_.uncommon()) {
    StateId at = state;
    for (const auto byte : trie_.bytes(id))
      if (at = space_.step(at, byte); at == kDead) break;
    set_bit(bits, id, at != kDead);
  }
}

Runner::Mask& Runner::mask_of(StateId state) {
  state = space_.canonical(state, trie_.longest());
  if (const auto known = masks_.find(state); known != masks_.end()) return known->second;
  Bits bits;
  if (const StateId alike = space_.canonical(state, TokenTrie::kCommonBytes); alike != state) {
    bits = mask_of(alike).bits;
    recheck_uncommon(state, bits);
  } else {
    fill(state, bits);
  }
  if (space_.complete(state))
    for (const TokenId id : trie_.end_ids()) set_bit(bits, id);
  Mask& mask = masks_[state];
  mask.bits = std::move(bits);
  mask_bytes_ += mask.bits.size() * 8 + sizeof(Mask) + 32;
  return mask;
}

Runner::Mask& Runner::current() {
  if (ended_) return end_mask_;
  shrink();
  return mask_of(state_);
}

}  // namespace kinglet::grammar
