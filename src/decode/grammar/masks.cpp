// Which tokens of a vocabulary a state allows.
#include <algorithm>

#include "decode/grammar/runner.h"

namespace kinglet::grammar {
namespace {

/// A mask is put together from those of its strings where they are so few different ones.
constexpr std::size_t kMostStrings = 16;

void set_bit(std::vector<std::uint64_t>& bits, TokenId id, bool value = true) {
  const std::uint64_t bit = std::uint64_t{1} << (id % 64);
  std::uint64_t& word = bits[static_cast<std::size_t>(id) / 64];
  word = value ? word | bit : word & ~bit;
}

}  // namespace

// step(node) says whether its byte may follow the bytes above it.
template <typename Step>
void Runner::walk(const Trie& trie, Bits& bits, Step step) {
  const std::size_t count = trie.nodes.size() - 1;
  for (std::size_t i = 0; i < count;) {
    const TrieNode& node = trie.nodes[i];
    if (!step(node)) {
      i = node.end;
      continue;
    }
    for (std::uint32_t t = node.first_token; t < trie.nodes[i + 1].first_token; ++t) set_bit(bits, trie.tokens[t]);
    ++i;
  }
}

void Runner::walk_states(const Trie& trie, StateId state, Bits& bits) {
  StateId path[TokenTrie::kLongestToken + 2];
  path[0] = state;
  walk(trie, bits, [&](const TrieNode& node) {
    return (path[node.depth + 1] = space_.step(path[node.depth], node.byte)) != kDead;
  });
}

// What stays within a string is the string's alone, whoever called it.
const Runner::Bits& Runner::string_mask(const Frame& frame, const CharTerminal& string) {
  const std::uint64_t plain = string.plain_characters(frame.state);
  const bool free = plain == CharTerminal::kNoLimit;  // all such strings are alike
  const StringKey key = free ? StringKey{~NodeId{0}, {}} : StringKey{frame.node, {frame.state.a, frame.state.b}};
  const auto [place, fresh] = string_masks_.try_emplace(key);
  Bits& bits = place->second;
  if (!fresh) return bits;
  if (plain > 0) {
    const auto words = trie_.plain(plain);
    bits.assign(words.begin(), words.end());
    for (const auto& [length, id] : trie_.long_plain())
      if (length <= plain) set_bit(bits, id);
  } else {
    bits.assign(trie_.words(), 0);
    string.allow_plain(frame.state, trie_.plain(), bits);
  }
  NodeState path[TokenTrie::kLongestToken + 2];
  path[0] = frame.state;
  walk(trie_.inner(), bits,
       [&](const TrieNode& node) { return string.step(path[node.depth], node.byte, path[node.depth + 1]); });
  mask_bytes_ += bits.size() * 8 + 96;
  return bits;
}

void Runner::fill(StateId state, Bits& bits) {
  strings_.clear(), others_.clear(), keys_.clear();
  for (const std::uint32_t top : space_.tops(state)) {
    const Frame& frame = space_.frame(top);
    const CharTerminal* string = space_.terminal(top).json_string();
    if (string == nullptr || !string->inside(frame.state)) {
      others_.push_back(top);
      continue;
    }
    strings_.push_back(top);
    keys_.insert({frame.node, {frame.state.a, frame.state.b}});
  }
  bits.assign(trie_.words(), 0);
  if (strings_.empty() || keys_.size() > kMostStrings) {
    walk_states(trie_.all(), state, bits);
    return;
  }
  for (const std::uint32_t top : strings_) {
    const Frame& frame = space_.frame(top);
    if (keys_.erase({frame.node, {frame.state.a, frame.state.b}}) == 0) continue;
    const Bits& one = string_mask(frame, *space_.terminal(top).json_string());
    for (std::size_t word = 0; word < bits.size(); ++word) bits[word] |= one[word];
  }
  if (others_.empty()) {
    walk_states(trie_.leaving(), state, bits);
    return;
  }
  walk_states(trie_.leaving(), space_.subset(strings_), bits);
  walk_states(trie_.all(), space_.subset(others_), bits);
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
