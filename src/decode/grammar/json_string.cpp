// JSON strings: which states allow what, so that masks need not try every token.
#include <algorithm>
#include <array>

#include "decode/grammar/char_state.h"
#include "decode/grammar/machine.h"
#include "decode/grammar/token_trie.h"

namespace kinglet::grammar {

/// Of each state, how many characters of these classes lead out of the automaton, at the fewest.
std::vector<std::uint64_t> CharTerminal::steps_to_refusal(std::span<const std::size_t> among) const {
  const std::size_t count = dfa_->size(), classes = dfa_->classes();
  std::vector<std::uint64_t> steps(count, kNoLimit);
  std::vector<std::int32_t> queue;
  for (std::size_t s = 0; s < count; ++s)
    if (std::any_of(among.begin(), among.end(), [&](std::size_t c) { return dfa_->next[s * classes + c] < 0; }))
      steps[s] = 1, queue.push_back(static_cast<std::int32_t>(s));
  if (queue.empty() || queue.size() == count) return steps;
  std::vector<std::vector<std::int32_t>> back(count);
  for (std::size_t s = 0; s < count; ++s) {
    if (steps[s] == 1) continue;
    std::int32_t before = -1;  // neighbouring classes often lead to one state
    for (const std::size_t c : among)
      if (const std::int32_t next = dfa_->next[s * classes + c]; next != before)
        back[static_cast<std::size_t>(before = next)].push_back(static_cast<std::int32_t>(s));
  }
  for (std::size_t i = 0; i < queue.size(); ++i)
    for (const auto p : back[static_cast<std::size_t>(queue[i])])
      if (auto& n = steps[static_cast<std::size_t>(p)]; n == kNoLimit)
        n = steps[static_cast<std::size_t>(queue[i])] + 1, queue.push_back(p);
  return steps;
}

void CharTerminal::find_shortcuts() {
  const std::size_t count = dfa_->size(), classes = dfa_->classes();
  std::array<std::vector<std::size_t>, 32> members;  // classes of each group
  for (std::uint8_t code = 0x20; code < 0x80; ++code)
    if (code != '"' && code != '\\') members[character_group(code)].push_back(dfa_->ascii[code]);
  const std::size_t separators[] = {dfa_->class_of(0x2028), dfa_->class_of(0x2029)};
  members[kRareGroup].insert(members[kRareGroup].end(), std::begin(separators), std::end(separators));
  for (std::size_t c = dfa_->class_of(0x80); c < classes && dfa_->cuts[c] <= kLastCodePoint; ++c) {
    const std::uint32_t end = c + 1 < classes ? dfa_->cuts[c + 1] : kLastCodePoint + 1;
    if (dfa_->cuts[c] < 0x2028 || end > 0x202A) members[kWideGroup].push_back(c);
  }
  std::vector<std::size_t> plain, common, ascii;
  for (std::size_t group = 0; group < members.size(); ++group) {
    auto& list = members[group];
    std::sort(list.begin(), list.end());
    list.erase(std::unique(list.begin(), list.end()), list.end());
    plain.insert(plain.end(), list.begin(), list.end());
    if (group != kRareGroup) common.insert(common.end(), list.begin(), list.end());
    if (group != kRareGroup && group != kWideGroup) ascii.insert(ascii.end(), list.begin(), list.end());
  }
  for (auto* list : {&plain, &common, &ascii}) {
    std::sort(list->begin(), list->end());
    list->erase(std::unique(list->begin(), list->end()), list->end());
  }
  refusal_ = steps_to_refusal(plain);
  common_refusal_ = steps_to_refusal(common);
  ascii_refusal_ = steps_to_refusal(ascii);
  loops_.assign(count, 0);
  for (std::size_t s = 0; s < count; ++s)
    for (std::size_t group = 0; group < members.size(); ++group) {
      const auto& list = members[group];
      if (std::all_of(list.begin(), list.end(),
                      [&](std::size_t c) { return dfa_->next[s * classes + c] == static_cast<std::int32_t>(s); }))
        loops_[s] |= 1u << group;
    }
}

// Whatever of the trie's tokens goes on below this node is allowed.
bool CharTerminal::swallows(Parts parts, const TrieNode& node) const {
  const auto d = static_cast<std::size_t>(parts.d);
  constexpr std::uint32_t kRare = 1u << kRareGroup, kWide = 1u << kWideGroup;
  const bool universal = node.height < refusal_[d] || (node.height < common_refusal_[d] && (node.below & kRare) == 0) ||
                         (node.height < ascii_refusal_[d] && (node.below & (kRare | kWide)) == 0);
  if (!universal && (node.below & ~loops_[d]) != 0) return false;
  if (shortest_.empty()) return true;
  if (parts.count < min_ && (universal ? !endless_ : longest_[d] != kNoLimit)) return false;
  return max_ == kNoLimit || parts.count + node.height + (universal ? farthest_ : shortest_[d]) <= max_;
}

bool CharTerminal::inside(NodeState state) const {
  return mode_ == Mode::kJson && !(state == kBeforeQuote) && !(state == kAfterQuote) && state.b == kWhole;
}

std::uint64_t CharTerminal::plain_characters(NodeState state) const {
  if (!inside(state) ||
      (dfa_ && !(max_ == kNoLimit && refusal_[static_cast<std::size_t>(unpack(state).d)] == kNoLimit)))
    return 0;
  return max_ == kNoLimit ? kNoLimit : max_ - unpack(state).count;
}

NodeState CharTerminal::canonical(NodeState state, std::uint64_t longest) const {
  if (!inside(state) || (min_ == 0 && max_ == kNoLimit)) return state;
  const Parts parts = unpack(state);
  if (max_ != kNoLimit && max_ - parts.count <= longest + farthest_) return state;
  std::uint64_t count = min_;
  if (parts.count < min_) {
    if (!endless_ || min_ - parts.count <= longest) return state;
    count = 0;
  }
  return {static_cast<std::uint64_t>(parts.d) + count * states_, 0};
}

void CharTerminal::allow_plain(NodeState state, const Trie& plain, std::span<std::uint64_t> bits) const {
  struct Place {
    Parts parts;      ///< between characters
    NodeState state;  ///< within one
    bool whole;
  };
  const auto set = [&](std::uint32_t from, std::uint32_t to) {
    for (std::uint32_t t = from; t < to; ++t) {
      const auto id = static_cast<std::size_t>(plain.tokens[t]);
      bits[id / 64] |= std::uint64_t{1} << (id % 64);
    }
  };
  const bool counted = min_ > 0 || max_ != kNoLimit;
  Place path[TokenTrie::kLongestToken + 2];
  path[0] = {unpack(state), state, true};
  const std::size_t nodes = plain.nodes.size() - 1, classes = dfa_ ? dfa_->classes() : 0;
  for (std::size_t i = 0; i < nodes;) {
    const TrieNode& node = plain.nodes[i];
    const Place& at = path[node.depth];
    Place& next = path[node.depth + 1];
    bool lives = false;
    if (at.whole && node.byte < 0x80 && dfa_) {
      next.parts.d = dfa_->next[static_cast<std::size_t>(at.parts.d) * classes + dfa_->ascii[node.byte]];
      next.parts.count = counted ? at.parts.count + 1 : 0;
      if (max_ == kNoLimit) next.parts.count = std::min(next.parts.count, min_);
      next.whole = true;
      lives = fits(next.parts.d, next.parts.count);
    } else {
      const NodeState from =
          at.whole ? NodeState{static_cast<std::uint64_t>(at.parts.d) + at.parts.count * states_, 0} : at.state;
      lives = step_utf8(from, node.byte, next.state);
      next.whole = lives && next.state.b == kWhole;
      if (next.whole) next.parts = unpack(next.state);
    }
    if (!lives) {
      i = node.end;
      continue;
    }
    const bool all = next.whole && dfa_ && swallows(next.parts, node);
    const std::size_t after = all ? node.end : i + 1;
    set(node.first_token, plain.nodes[after].first_token);
    i = after;
  }
}

}  // namespace kinglet::grammar
