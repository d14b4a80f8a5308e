#include "decode/ngram_index.h"

#include <algorithm>

namespace kinglet {

std::uint64_t NgramIndex::key(const TokenId* tokens, int length) {
  std::uint64_t hash = 0x9e3779b97f4a7c15u * static_cast<std::uint64_t>(length);
  for (int i = 0; i < length; ++i) {
    hash ^= static_cast<std::uint32_t>(tokens[i]);
    hash *= 0xbf58476d1ce4e5b9u;
    hash ^= hash >> 29;
  }
  return hash;
}

NgramIndex::Slot& NgramIndex::slot(std::uint64_t key) {
  std::size_t at = (key ^ (key >> 32)) & (slots_.size() - 1);
  while (slots_[at].after != 0 && slots_[at].key != key) at = (at + 1) & (slots_.size() - 1);
  return slots_[at];
}

void NgramIndex::grow() {
  std::vector<Slot> old(std::max<std::size_t>(256, slots_.size() * 2));
  old.swap(slots_);
  for (const Slot& entry : old)
    if (entry.after != 0) slot(entry.key) = entry;
}

NgramIndex::Match NgramIndex::find(std::span<const TokenId> text) {
  if (text.size() < read_) {
    slots_.clear();
    used_ = read_ = 0;
  }
  // N-grams that end before the last token: the suffix itself must not be found.
  for (; read_ + 1 < text.size(); ++read_) {
    const std::size_t end = read_ + 1;
    for (int length = 1; length <= kLongest && static_cast<std::size_t>(length) <= end; ++length) {
      if (2 * (used_ + 1) > slots_.size()) grow();
      const std::uint64_t hash = key(text.data() + end - length, length);
      Slot& entry = slot(hash);
      used_ += entry.after == 0;
      entry = {hash, static_cast<std::uint32_t>(end)};
    }
  }
  if (slots_.empty()) return {};
  for (int length = std::min<int>(kLongest, static_cast<int>(std::min<std::size_t>(text.size(), kLongest))); length > 0;
       --length) {
    const TokenId* suffix = text.data() + text.size() - length;
    const Slot& entry = slot(key(suffix, length));
    if (entry.after == 0) continue;
    if (std::equal(suffix, suffix + length, text.data() + entry.after - length)) return {length, entry.after};
  }
  return {};
}

}  // namespace kinglet
