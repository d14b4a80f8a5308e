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
  exhausted_ = false;
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
  space_.grant();
  bool gave_up =
      false;  // a mask walks kinds of stacks apart and may have found a way that all together are too many for
  for (const auto byte : bytes) {
    const StateId next = space_.step(state, byte);
    gave_up = gave_up || (next == kDead && space_.gave_up(state));
    state = next;
  }
  exhausted_ = space_.exhausted() || gave_up;
  if (state == kDead) return false;
  history_.push_back(state_);
  taken_.push_back(token);
  state_ = state;
  return true;
}

void Runner::rollback(std::size_t count) {
  count = std::min(count, history_.size());
  if (count == 0) return;
  const std::size_t left = history_.size() - count;
  if (history_[left] == kForgotten) {
    std::vector<TokenId> taken(taken_.begin(), taken_.begin() + static_cast<std::ptrdiff_t>(left));
    reset();
    // They were taken before: what one grant does not allow, the next does, which begins where that one ended.
    for (const TokenId id : taken)
      while (!accept(id) && space_.exhausted()) continue;
    return;
  }
  state_ = history_[left];
  history_.resize(left);
  taken_.resize(left);
  ended_ = false;
}

void Runner::reset() {
  state_ = space_.start();
  history_.clear();
  taken_.clear();
  ended_ = false;
}

// Masks and transitions go first. If that is not enough, all states go but the present one and those of the last
// tokens; older ones are made again from the tokens should a rollback want them.
void Runner::shrink(StateId* also) {
  constexpr std::size_t kKept = 64;
  if (cache_bytes() <= most_bytes_) return;
  masks_.clear();
  string_masks_.clear();
  mask_bytes_ = 0;
  space_.forget_rows();
  if (cache_bytes() <= most_bytes_ / 2) return;
  std::vector<StateId*> kept{&state_};
  if (also != nullptr) kept.push_back(also);
  for (std::size_t i = 0; i < history_.size(); ++i)
    if (i + kKept < history_.size())
      history_[i] = kForgotten;
    else if (history_[i] != kForgotten)
      kept.push_back(&history_[i]);
  space_.keep(kept);
}

std::string Runner::forced_text(std::size_t limit) {
  std::string text;
  StateId state = state_;
  space_.grant();
  while (!ended_ && text.size() < limit && !space_.complete(state)) {
    int only = -1;
    for (int byte = 0; byte < 256; ++byte) {
      if (space_.step(state, static_cast<std::uint8_t>(byte)) == kDead) continue;
      if (only >= 0) return text;
      only = byte;
    }
    if (only < 0 || space_.exhausted()) return text;
    text += static_cast<char>(only);
    state = space_.step(state, static_cast<std::uint8_t>(only));
  }
  return text;
}

bool Runner::matches(std::string_view text) {
  StateId state = space_.start();
  exhausted_ = false;
  for (const char c : text) {
    shrink(&state);
    space_.grant();
    const StateId next = space_.step(state, static_cast<std::uint8_t>(c));
    if (next == kDead) {
      exhausted_ = space_.exhausted() || space_.gave_up(state);
      return false;
    }
    state = next;
  }
  return space_.complete(state);
}

}  // namespace kinglet::grammar
