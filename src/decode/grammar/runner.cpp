#include "decode/grammar/runner.h"

#include <algorithm>
#include <bit>

namespace kinglet::grammar {

Runner::Runner(std::shared_ptr<const Machine> machine, std::shared_ptr<const GrammarVocabulary> vocabulary,
               std::size_t cache_bytes)
    : vocabulary_(std::move(vocabulary)),
      trie_(vocabulary_->trie()),
      space_(std::move(machine)),
      state_(space_.start()),
      most_bytes_(cache_bytes) {
  end_mask_.bits.assign(trie_.words(), 0);
  for (const TokenId id : trie_.end_ids())
    end_mask_.bits[static_cast<std::size_t>(id) / 64] |= std::uint64_t{1} << (id % 64);
  end_mask_.ids.assign(trie_.end_ids().begin(), trie_.end_ids().end());
  end_mask_.has_ids = true;
}

void Runner::walk(const Trie& trie, StateId state, std::vector<std::uint64_t>& bits) {
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
    for (std::uint32_t t = node.first_token; t < trie.nodes[i + 1].first_token; ++t) {
      const TokenId id = trie.tokens[t];
      bits[static_cast<std::size_t>(id) / 64] |= std::uint64_t{1} << (id % 64);
    }
    ++i;
  }
}

// Whether most tokens lead to states that refuse no plain character, judged by their first bytes.
bool Runner::mostly_plain(StateId state) {
  const Trie& trie = trie_.all();
  std::size_t swallowed = 0, others = 0;
  for (std::size_t i = 0; i + 1 < trie.nodes.size(); i = trie.nodes[i].end) {
    const std::size_t tokens = trie.nodes[trie.nodes[i].end].first_token - trie.nodes[i].first_token;
    const StateId next = space_.step(state, trie.nodes[i].byte);
    (next != kDead && space_.swallows(next) ? swallowed : others) += tokens;
  }
  return swallowed > others;
}

// Starts from all plain tokens and looks only where the string is not of any characters.
void Runner::walk_string(StateId state, std::vector<std::uint64_t>& bits) {
  const auto words = trie_.plain(trie_.longest_plain());
  bits.assign(words.begin(), words.end());
  const Trie& trie = trie_.all();
  const auto change = [&](std::uint32_t from, std::uint32_t to, bool allowed) {
    for (std::uint32_t t = from; t < to; ++t) {
      const auto id = static_cast<std::size_t>(trie.tokens[t]);
      const std::uint64_t bit = std::uint64_t{1} << (id % 64);
      bits[id / 64] = allowed ? bits[id / 64] | bit : bits[id / 64] & ~bit;
    }
  };
  StateId path[TokenTrie::kLongestToken + 2];
  path[0] = state;
  const std::size_t count = trie.nodes.size() - 1;
  for (std::size_t i = 0; i < count;) {
    const TrieNode& node = trie.nodes[i];
    const StateId next = space_.step(path[node.depth], node.byte);
    path[node.depth + 1] = next;
    if (next == kDead) {
      change(node.first_token, trie.nodes[node.end].first_token, false);
      i = node.end;
    } else if (space_.swallows(next)) {
      i = node.end;
    } else {
      change(node.first_token, trie.nodes[i + 1].first_token, true);
      ++i;
    }
  }
  walk(trie_.special(), state, bits);
}

void Runner::fill(StateId state, std::vector<std::uint64_t>& bits) {
  const std::uint64_t plain = space_.plain_characters(state);
  if (plain > 0 && (plain >= trie_.longest_plain() || space_.single(state))) {
    const auto words = trie_.plain(plain);
    bits.assign(words.begin(), words.end());
    for (const auto& [length, id] : trie_.long_plain())
      if (length <= plain) bits[static_cast<std::size_t>(id) / 64] |= std::uint64_t{1} << (id % 64);
    walk(trie_.special(), state, bits);
  } else if (space_.in_string(state) && mostly_plain(state)) {
    walk_string(state, bits);
  } else {
    bits.assign(trie_.words(), 0);
    walk(trie_.all(), state, bits);
  }
}

Runner::Mask& Runner::current() {
  if (ended_) return end_mask_;
  shrink();
  const StateId key = space_.canonical(state_, trie_.longest_plain());
  const auto [place, fresh] = masks_.try_emplace(key);
  Mask& mask = place->second;
  if (fresh) {
    fill(key, mask.bits);
    if (space_.complete(key))
      for (const TokenId id : trie_.end_ids())
        mask.bits[static_cast<std::size_t>(id) / 64] |= std::uint64_t{1} << (id % 64);
    mask_bytes_ += mask.bits.size() * 8 + sizeof(Mask) + 32;
  }
  return mask;
}

std::span<const std::uint64_t> Runner::mask() { return current().bits; }

std::span<const TokenId> Runner::allowed() {
  Mask& mask = current();
  if (!mask.has_ids) {
    for (std::size_t word = 0; word < mask.bits.size(); ++word)
      for (std::uint64_t bits = mask.bits[word]; bits != 0; bits &= bits - 1)
        mask.ids.push_back(static_cast<TokenId>(word * 64) + std::countr_zero(bits));
    mask.has_ids = true;
    mask_bytes_ += mask.ids.size() * 4;
  }
  return mask.ids;
}

std::size_t Runner::allowed_count() {
  Mask& mask = current();
  if (mask.count == kUncounted) {
    mask.count = 0;
    for (const std::uint64_t word : mask.bits) mask.count += static_cast<std::size_t>(std::popcount(word));
  }
  return mask.count;
}

bool Runner::accept(TokenId token) {
  if (ended_) return false;
  if (trie_.is_end(token)) {
    if (!space_.complete(state_)) return false;
    history_.push_back(state_);
    taken_.push_back(token);
    ended_ = true;
    return true;
  }
  const auto bytes = trie_.bytes(token);
  if (bytes.empty()) return false;
  StateId state = state_;
  for (const auto byte : bytes) state = space_.step(state, byte);
  if (state == kDead) return false;
  history_.push_back(state_);
  taken_.push_back(token);
  state_ = state;
  return true;
}

void Runner::rollback(std::size_t count) {
  count = std::min(count, history_.size());
  if (count == 0) return;
  state_ = history_[history_.size() - count];
  history_.resize(history_.size() - count);
  taken_.resize(history_.size());
  ended_ = false;
}

void Runner::reset() {
  state_ = space_.start();
  history_.clear();
  taken_.clear();
  ended_ = false;
}

// States are numbers of one space, so everything goes at once and the text so far is read again.
void Runner::shrink() {
  if (cache_bytes() <= most_bytes_) return;
  const std::vector<TokenId> taken = taken_;
  masks_.clear();
  mask_bytes_ = 0;
  space_.clear();
  reset();
  for (const TokenId id : taken) accept(id);
}

std::string Runner::forced_text(std::size_t limit) {
  std::string text;
  StateId state = state_;
  while (!ended_ && text.size() < limit && !space_.complete(state)) {
    int only = -1;
    for (int byte = 0; byte < 256; ++byte) {
      if (space_.step(state, static_cast<std::uint8_t>(byte)) == kDead) continue;
      if (only >= 0) return text;
      only = byte;
    }
    if (only < 0) return text;
    text += static_cast<char>(only);
    state = space_.step(state, static_cast<std::uint8_t>(only));
  }
  return text;
}

bool Runner::matches(std::string_view text) {
  StateId state = space_.start();
  for (const char c : text) state = space_.step(state, static_cast<std::uint8_t>(c));
  return space_.complete(state);
}

}  // namespace kinglet::grammar
