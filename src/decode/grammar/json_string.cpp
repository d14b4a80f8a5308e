// JSON strings and bare texts: which states allow what, so that masks need not try every token.
#include <algorithm>
#include <array>
#include <bit>
#include <map>

#include "decode/grammar/char_state.h"
#include "decode/grammar/machine.h"
#include "decode/grammar/token_trie.h"

namespace kinglet::grammar {
namespace {

/// The classes of the plain characters of each group, ascending.
std::array<std::vector<std::size_t>, 32> classes_of_groups(const Dfa& dfa) {
  std::array<std::vector<std::size_t>, 32> members;
  for (std::uint8_t code = 0x20; code < 0x80; ++code)
    if (code != '"' && code != '\\') members[character_group(code)].push_back(dfa.ascii[code]);
  const auto spaces = wide_spaces();
  for (const auto& [first, last] : spaces)
    for (std::uint32_t code = first; code <= last; ++code) members[kRareGroup].push_back(dfa.class_of(code));
  for (std::size_t c = 0; c < dfa.classes() && dfa.cuts[c] <= kLastCodePoint; ++c) {
    const std::uint32_t first = dfa.cuts[c], end = c + 1 < dfa.classes() ? dfa.cuts[c + 1] : kLastCodePoint + 1;
    if (end > 0x80 && std::none_of(spaces.begin(), spaces.end(),
                                   [&](const auto& space) { return first >= space.first && end <= space.second + 1; }))
      members[kWideGroup].push_back(c);
  }
  for (auto& list : members) {
    std::sort(list.begin(), list.end());
    list.erase(std::unique(list.begin(), list.end()), list.end());
  }
  return members;
}

}  // namespace

/// Of each state, how many characters of these classes lead out of the automaton, or to a state where the text may not
/// end, at the fewest.
std::vector<std::uint16_t> CharTerminal::steps_to_refusal(std::span<const std::size_t> among, bool or_to_open) const {
  const std::size_t count = dfa_->size(), classes = dfa_->classes();
  std::vector<std::uint16_t> steps(count, kFar);
  std::vector<std::uint32_t> queue;
  for (std::size_t s = 0; s < count; ++s)
    if ((or_to_open && dfa_->label[s] < 0) ||
        std::any_of(among.begin(), among.end(), [&](std::size_t c) { return dfa_->next[s * classes + c] < 0; }))
      steps[s] = 1, queue.push_back(static_cast<std::uint32_t>(s));
  if (queue.empty() || queue.size() == count) return steps;
  // Ways back of the states that are still to be reached: those of state t are back[first[t]] up to back[first[t + 1]].
  const auto each_way = [&](auto&& take) {
    for (std::size_t s = 0; s < count; ++s) {
      if (steps[s] == 1) continue;
      std::int32_t before = -1;  // neighbouring classes often lead to one state
      for (const std::size_t c : among)
        if (const std::int32_t next = dfa_->next[s * classes + c]; next != before)
          take(static_cast<std::uint32_t>(s), static_cast<std::size_t>(before = next));
    }
  };
  std::vector<std::uint32_t> first(count + 2, 0);
  each_way([&](std::uint32_t, std::size_t to) { ++first[to + 2]; });
  for (std::size_t t = 2; t < first.size(); ++t) first[t] += first[t - 1];
  std::vector<std::uint32_t> back(first.back());
  each_way([&](std::uint32_t from, std::size_t to) { back[first[to + 1]++] = from; });
  for (std::size_t i = 0; i < queue.size(); ++i) {
    const unsigned next = steps[queue[i]] + 1u;
    if (next >= kFar) break;
    for (std::uint32_t w = first[queue[i]]; w < first[queue[i] + 1]; ++w)
      if (auto& n = steps[back[w]]; n == kFar) n = static_cast<std::uint16_t>(next), queue.push_back(back[w]);
  }
  return steps;
}

void CharTerminal::find_shortcuts() {
  const std::size_t count = dfa_->size(), classes = dfa_->classes();
  const auto members = classes_of_groups(*dfa_);
  std::vector<std::size_t> any;
  for (std::size_t c = 0; c < classes && dfa_->cuts[c] <= kLastCodePoint; ++c) any.push_back(c);
  shortcuts_.assign(count, {});
  std::map<std::uint32_t, std::size_t> taken;  // the groups of which a state refuses none, and how many such states
  always_ = ~std::uint32_t{0};
  for (std::size_t s = 0; s < count; ++s) {
    Shortcuts& known = shortcuts_[s];
    const std::int32_t* next = dfa_->next.data() + s * classes;
    std::uint32_t whole = 0;
    for (std::size_t group = 0; group < members.size(); ++group) {
      bool all = true, some = false, loops = true;
      for (const std::size_t c : members[group]) {
        all = all && next[c] >= 0;
        some = some || next[c] >= 0;
        loops = loops && next[c] == static_cast<std::int32_t>(s);
        if (some && !all) break;
      }
      whole |= std::uint32_t{all} << group;
      known.some |= std::uint32_t{some} << group;
      known.loops |= std::uint32_t{loops} << group;
    }
    always_ &= whole;
    if (whole != 0) ++taken[whole];
  }
  for (std::size_t most = 0; const auto& [groups, states] : taken)
    if (states > most) most = states, usual_ = groups;
  const auto classes_of = [&](std::uint32_t groups) {
    std::vector<std::size_t> out;
    for (std::size_t group = 0; group < members.size(); ++group)
      if ((groups >> group & 1) != 0) out.insert(out.end(), members[group].begin(), members[group].end());
    std::sort(out.begin(), out.end());
    out.erase(std::unique(out.begin(), out.end()), out.end());
    return out;
  };
  constexpr std::uint32_t kRare = 1u << kRareGroup, kWide = 1u << kWideGroup;
  std::vector<std::size_t> before;
  std::vector<std::uint16_t> steps;
  const auto distances = [&](std::uint16_t Shortcuts::* field, std::vector<std::size_t> among) {
    if (before != among) steps = steps_to_refusal(among, false);
    for (std::size_t s = 0; s < count; ++s) shortcuts_[s].*field = steps[s];
    before = std::move(among);
  };
  distances(&Shortcuts::any, any);
  distances(&Shortcuts::plain, classes_of(~std::uint32_t{0}));
  distances(&Shortcuts::common, classes_of(~kRare));
  distances(&Shortcuts::ascii, classes_of(~(kRare | kWide)));
  distances(&Shortcuts::usual, classes_of(usual_));
  if (shortest_.empty()) return;
  steps = steps_to_refusal(any, true);
  for (std::size_t s = 0; s < count; ++s) shortcuts_[s].ends = steps[s] == kFar;
}

// Whatever of the trie's tokens goes on below this node is allowed.
bool CharTerminal::swallows(Parts parts, const TrieNode& node) const {
  const Shortcuts& known = shortcuts_[static_cast<std::size_t>(parts.d)];
  constexpr std::uint32_t kRare = 1u << kRareGroup, kWide = 1u << kWideGroup;
  const bool universal = (node.below & ~always_) == 0 || node.height < known.plain ||
                         ((node.below & ~usual_) == 0 && node.height < known.usual) ||
                         ((node.below & kRare) == 0 && node.height < known.common) ||
                         ((node.below & (kRare | kWide)) == 0 && node.height < known.ascii);
  if (!universal && (node.below & ~known.loops) != 0) return false;
  if (shortest_.empty()) return true;
  const auto d = static_cast<std::size_t>(parts.d);
  if (parts.count < min_ && (universal ? !endless_ : longest_[d] != kNoLimit)) return false;
  return max_ == kNoLimit || parts.count + node.height + (universal ? farthest_ : shortest_[d]) <= max_;
}

bool CharTerminal::inside(NodeState state) const {
  return mode_ != Mode::kCanonical && state.b == kWhole;  // which it is not outside the quotes
}

std::uint64_t CharTerminal::any_characters(NodeState state, std::uint64_t longest) const {
  if (!inside(state)) return 0;
  const Parts parts = unpack(state);
  if (!dfa_ || shortcuts_[static_cast<std::size_t>(parts.d)].ends) return std::min(max_ - parts.count, longest);
  return shortcuts_[static_cast<std::size_t>(parts.d)].any > longest && has_room(parts, longest) ? longest : 0;
}

// Lengths allow so many characters, wherever in the automaton they lead.
bool CharTerminal::has_room(Parts parts, std::uint64_t characters) const {
  return (max_ == kNoLimit || max_ - parts.count >= characters + farthest_) && (parts.count >= min_ || endless_);
}

bool CharTerminal::takes_common(NodeState state, std::uint64_t longest) const {
  if (!inside(state) || !dfa_) return false;
  const Parts parts = unpack(state);
  return shortcuts_[static_cast<std::size_t>(parts.d)].common > longest && has_room(parts, longest);
}

std::uint64_t CharTerminal::plain_characters(NodeState state) const {
  if (!inside(state) ||
      (dfa_ && !(max_ == kNoLimit && shortcuts_[static_cast<std::size_t>(unpack(state).d)].plain == kFar)))
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

inline bool CharTerminal::read_plain(Parts& at, std::uint32_t code, std::size_t& wide) const {
  if (dfa_) {
    const std::size_t classes = dfa_->classes();
    if (code >= 128 && !(dfa_->cuts[wide] <= code && wide + 1 < classes && code < dfa_->cuts[wide + 1]))
      wide = dfa_->class_of(code);
    at.d = dfa_->next[static_cast<std::size_t>(at.d) * classes + (code < 128 ? dfa_->ascii[code] : wide)];
    if (shortest_.empty()) return at.d >= 0;
  }
  at.count = max_ == kNoLimit ? std::min(at.count + 1, min_) : at.count + 1;
  return fits(at.d, at.count);
}

void CharTerminal::allow_plain(std::span<const Place> places, const Trie& plain, std::span<std::uint64_t> bits) {
  const auto set = [&](std::uint32_t from, std::uint32_t to) {
    for (std::uint32_t t = from; t < to; ++t) {
      const auto id = static_cast<std::size_t>(plain.tokens[t]);
      bits[id / 64] |= std::uint64_t{1} << (id % 64);
    }
  };
  Parts path[kMostPlaces][TokenTrie::kLongestToken + 2];
  std::uint32_t alive[TokenTrie::kLongestToken + 2];  // bit k: places[k] is still possible
  std::size_t wide[kMostPlaces] = {};                 // classes of the last characters beyond ASCII: the next are near
  alive[0] = (1u << places.size()) - 1;
  for (std::size_t k = 0; k < places.size(); ++k) path[k][0] = places[k].string->unpack(places[k].state);
  const std::size_t nodes = plain.nodes.size() - 1;
  std::size_t block = 0;  // of the wide roots, the first that is not behind
  for (std::size_t i = 0; i < nodes;) {
    const TrieNode& node = plain.nodes[i];
    const std::uint32_t depth = node.depth;
    const bool wide_root = depth == 0 && node.symbol >= 0x80;
    while (wide_root && block < plain.wide_blocks.size() && plain.wide_roots[block * Trie::kBlock] < i) ++block;
    const bool at_block = wide_root && block < plain.wide_blocks.size() && plain.wide_roots[block * Trie::kBlock] == i;
    std::uint32_t living = 0, alike = kLastCodePoint + 1;  // what is refused up to there is refused for the same reason
    bool all = node.height == 0, some = false;             // the whole subtree, or something in it, is allowed
    const TrieNode* whole = &node;                         // what is allowed as a whole if all is
    for (std::uint32_t left = alive[depth]; left != 0; left &= left - 1) {
      const auto k = static_cast<std::size_t>(std::countr_zero(left));
      const CharTerminal& string = *places[k].string;
      Parts& next = path[k][depth + 1];
      next = path[k][depth];
      const bool lives = string.read_plain(next, node.symbol, wide[k]);
      const std::uint32_t same = string.dfa_ && wide_root && wide[k] + 1 < string.dfa_->classes()
                                     ? string.dfa_->cuts[wide[k] + 1]
                                     : kLastCodePoint + 1;
      if (!lives) {
        alike = std::min(alike, same);
        continue;
      }
      living |= 1u << k;
      if (!string.dfa_) {
        some = true;
        continue;
      }
      if (at_block && plain.wide_blocks[block].symbol < same && string.swallows(next, plain.wide_blocks[block]))
        whole = &plain.wide_blocks[block], all = true;
      all = all || string.swallows(next, node);
      if (all) break;
      some = some || (string.shortcuts_[static_cast<std::size_t>(next.d)].some & node.below) != 0;
    }
    alive[depth + 1] = living;
    if (living == 0) {
      i = wide_root ? plain.root_from(alike) : node.end;
      continue;
    }
    set(node.first_token, plain.nodes[all ? whole->end : i + 1].first_token);
    i = all || !some ? whole->end : i + 1;
  }
}

}  // namespace kinglet::grammar
