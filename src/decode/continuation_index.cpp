#include "decode/continuation_index.h"

#include <algorithm>

namespace kinglet {

std::uint64_t ContinuationIndex::key(const TokenId* tokens, int length) {
  std::uint64_t hash = 0x9e3779b97f4a7c15u * static_cast<std::uint64_t>(length);
  for (int i = 0; i < length; ++i) {
    hash ^= static_cast<std::uint32_t>(tokens[i]);
    hash *= 0xbf58476d1ce4e5b9u;
    hash ^= hash >> 29;
  }
  return hash;
}

std::size_t ContinuationIndex::place(std::uint64_t key) const {
  std::size_t at = (key ^ (key >> 32)) & (slots_.size() - 1);
  while (slots_[at].at[0] != 0 && slots_[at].key != key) at = (at + 1) & (slots_.size() - 1);
  return at;
}

void ContinuationIndex::grow() {
  std::vector<Slot> old(std::max<std::size_t>(256, slots_.size() * 2));
  old.swap(slots_);
  for (const Slot& entry : old)
    if (entry.at[0] != 0) slots_[place(entry.key)] = entry;
}

void ContinuationIndex::clear() {
  text_.clear();
  slots_.clear();
  used_ = 0;
}

void ContinuationIndex::remember(std::uint64_t key, std::uint32_t at) {
  if (2 * (used_ + 1) > slots_.size()) grow();
  Slot& slot = slots_[place(key)];
  used_ += slot.at[0] == 0;
  slot.key = key;
  // To the front; the same token's older place goes, or else the oldest.
  std::uint32_t moved = at;
  for (std::uint32_t& kept : slot.at) {
    std::swap(kept, moved);
    if (moved == 0 || text_[moved] == text_[at]) break;
  }
}

void ContinuationIndex::push(TokenId token) {
  const std::size_t at = text_.size();
  text_.push_back(token);
  for (int length = 1; length <= kLongest && static_cast<std::size_t>(length) <= at; ++length)
    remember(key(text_.data() + at - length, length), static_cast<std::uint32_t>(at));
}

int ContinuationIndex::find(std::span<const TokenId> context, Candidates& out) const {
  int found = 0;
  if (slots_.empty()) return 0;
  const int longest = static_cast<int>(std::min<std::size_t>(context.size(), kLongest));
  for (int length = longest; length > 0 && found < kKept; --length) {
    const TokenId* end = context.data() + context.size();
    const Slot& slot = slots_[place(key(end - length, length))];
    for (const std::uint32_t at : slot.at) {
      if (at == 0 || found == kKept) break;
      const TokenId token = text_[at];
      if (std::any_of(out.begin(), out.begin() + found, [&](const Candidate& c) { return c.token == token; })) continue;
      int agreed = 0;
      while (agreed < kCompared && static_cast<std::size_t>(agreed) < std::min<std::size_t>(context.size(), at) &&
             end[-1 - agreed] == text_[at - 1 - static_cast<std::size_t>(agreed)])
        ++agreed;
      if (agreed < length) continue;  // another n-gram with the same hash
      out[static_cast<std::size_t>(found++)] = {token, at, agreed};
    }
  }
  return found;
}

}  // namespace kinglet
