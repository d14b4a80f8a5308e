// Which tokens of a vocabulary a state allows.
#include <algorithm>

#include "decode/grammar/runner.h"

namespace kinglet::grammar {
namespace {

void set_bit(std::vector<std::uint64_t>& bits, TokenId id, bool value = true) {
  const std::uint64_t bit = std::uint64_t{1} << (id % 64);
  std::uint64_t& word = bits[static_cast<std::size_t>(id) / 64];
  word = value ? word | bit : word & ~bit;
}

void add_bits(std::vector<std::uint64_t>& bits, const std::vector<std::uint64_t>& more) {
  for (std::size_t word = 0; word < bits.size(); ++word) bits[word] |= more[word];
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
    return (path[node.depth + 1] = space_.step(path[node.depth], static_cast<std::uint8_t>(node.symbol))) != kDead;
  });
  gave_up_ = gave_up_ || space_.gave_up(state);
}

void Runner::walk_place(const Trie& trie, const CharTerminal::Place& place, Bits& bits) {
  NodeState path[TokenTrie::kLongestToken + 2];
  path[0] = place.state;
  walk(trie, bits, [&](const TrieNode& node) {
    return place.string->step(path[node.depth], static_cast<std::uint8_t>(node.symbol), path[node.depth + 1]);
  });
}

// What stays within a string is the string's alone, whoever called it. `others` are the tokens that may stay besides
// the plain ones.
const Runner::Bits& Runner::string_mask(const StringKey& key, const CharTerminal::Place& place, std::uint64_t plain,
                                        const Trie& others) {
  const auto [entry, fresh] = string_masks_.try_emplace(key);
  Bits& bits = entry->second;
  if (!fresh) return bits;
  if (plain > 0) {
    const auto words = trie_.plain(plain);
    bits.assign(words.begin(), words.end());
    for (const auto& [length, id] : trie_.long_plain())
      if (length <= plain) set_bit(bits, id);
  } else if (place.string->takes_common(place.state, trie_.longest_plain())) {
    bits.assign(trie_.common().begin(), trie_.common().end());
    CharTerminal::allow_plain(std::span(&place, 1), trie_.rare(), bits);
  } else {
    bits.assign(trie_.words(), 0);
    CharTerminal::allow_plain(std::span(&place, 1), trie_.plain(), bits);
  }
  walk_place(others, place, bits);
  mask_bytes_ += bits.size() * 8 + 96;
  return bits;
}

// The tokens that stay within one of strings_. Of those that take any characters, the one that takes most of them
// allows what the others do, and if it takes as many as a token has, it allows what any string does.
bool Runner::fill_strings(Bits& bits) {
  constexpr std::size_t kMostKeys = 8 * CharTerminal::kMostPlaces;
  std::map<StringKey, const CharTerminal*> keys;
  CharTerminal::Place free{nullptr, {}};
  std::uint64_t most = 0;
  for (const std::uint32_t top : strings_) {
    const Frame& frame = space_.frame(top);
    const CharTerminal* string = space_.terminal(top).json_string();
    const std::uint64_t characters = string->any_characters(frame.state, trie_.longest());
    if (characters > most) most = characters, free = {string, frame.state};
    if (most == trie_.longest()) break;
    const NodeState alike = string->canonical(frame.state, trie_.longest());
    if (characters == 0) keys.emplace(StringKey{frame.node, {alike.a, alike.b}}, string);
  }
  if (most == trie_.longest()) keys.clear();
  if (keys.size() > kMostKeys) return false;
  if (most > 0) add_bits(bits, string_mask({~NodeId{0}, {most, 0}}, free, most, trie_.inner()));
  std::vector<CharTerminal::Place> places;
  for (const auto& [key, string] : keys) {
    const CharTerminal::Place place{string, {key.second.first, key.second.second}};
    const std::uint64_t plain = string->plain_characters(place.state);
    if (plain > 0 || keys.size() == 1)
      add_bits(bits, string_mask(key, place, plain, trie_.inner()));
    else
      places.push_back(place);
  }
  for (std::size_t at = 0; at < places.size(); at += CharTerminal::kMostPlaces)
    CharTerminal::allow_plain(std::span(places).subspan(at, std::min(CharTerminal::kMostPlaces, places.size() - at)),
                              trie_.plain(), bits);
  for (const auto& place : places) walk_place(trie_.inner(), place, bits);
  return true;
}

void Runner::fill(StateId state, Bits& bits) {
  constexpr std::uint32_t kBottom = 0;
  strings_.clear(), others_.clear();
  CharTerminal::Place last{nullptr, {}};  // a bare text that nothing can follow
  StringKey key;
  for (const std::uint32_t top : space_.tops(state)) {
    const Frame& frame = space_.frame(top);
    const Terminal& terminal = space_.terminal(top);
    const CharTerminal* bare = frame.parent == kBottom && last.string == nullptr ? terminal.bare_text() : nullptr;
    if (bare != nullptr && bare->inside(frame.state))
      last = {bare, frame.state}, key = {frame.node, {frame.state.a, frame.state.b}};
    else if (const CharTerminal* string = terminal.json_string(); string != nullptr && string->inside(frame.state))
      strings_.push_back(top);
    else
      others_.push_back(top);
  }
  bits.assign(trie_.words(), 0);
  if (last.string != nullptr)
    add_bits(bits, string_mask(key, last, last.string->plain_characters(last.state), trie_.special()));
  if (!strings_.empty()) {
    if (fill_strings(bits))
      walk_states(trie_.leaving(), space_.subset(strings_), bits);
    else
      others_.insert(others_.end(), strings_.begin(), strings_.end());
  }
  if (!others_.empty()) walk_states(trie_.all(), space_.subset(others_), bits);
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
  bool exhausted = false;
  gave_up_ = false;
  if (const StateId alike = space_.canonical(state, TokenTrie::kCommonBytes); alike != state) {
    const Mask& other = mask_of(alike);
    bits = other.bits;
    exhausted = other.exhausted;
    recheck_uncommon(state, bits);
  } else {
    fill(state, bits);
  }
  const auto empty = [&] {
    return std::all_of(bits.begin(), bits.end(), [](std::uint64_t word) { return word == 0; });
  };
  exhausted = exhausted || gave_up_ || (empty() && space_.stuck(state)) || space_.exhausted();
  if (space_.complete(state))
    for (const TokenId id : trie_.end_ids()) set_bit(bits, id);
  if (exhausted) bits.assign(trie_.words(), 0);
  Mask& mask = masks_[state];
  mask.bits = std::move(bits);
  mask.exhausted = exhausted;
  mask_bytes_ += mask.bits.size() * 8 + sizeof(Mask) + 32;
  return mask;
}

Runner::Mask& Runner::current() {
  if (ended_) return end_mask_;
  shrink();
  space_.grant();
  Mask& mask = mask_of(state_);
  exhausted_ = mask.exhausted;
  return mask;
}

}  // namespace kinglet::grammar
