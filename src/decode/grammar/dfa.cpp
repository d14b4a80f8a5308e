#include "decode/grammar/dfa.h"

#include <algorithm>
#include <map>
#include <unordered_map>

#include "base/try.h"

namespace kinglet::grammar {
namespace {

constexpr std::size_t kMostNfaStates = 200'000, kMostDfaStates = 30'000;

struct NfaState {
  const CharSet* set = nullptr;  ///< null: an empty transition to a and b
  std::int32_t a = -1, b = -1;
};

class NfaBuilder {
 public:
  explicit NfaBuilder(Budget& budget) : budget_(budget) {}
  std::vector<NfaState> states;

  std::int32_t add(NfaState state) {
    if (states.size() >= kMostNfaStates || !budget_.spend(1)) failed = true;
    if (failed) return 0;
    states.push_back(state);
    return static_cast<std::int32_t>(states.size() - 1);
  }
  /// The entry of an automaton for `ast` that goes on at `to`.
  std::int32_t build(const Ast& ast, std::int32_t to) {
    if (failed) return to;
    switch (ast.kind) {
      case Ast::Kind::kChars:
        return add({&ast.set, to, -1});
      case Ast::Kind::kSequence:
        for (std::size_t i = ast.parts.size(); i-- > 0;) to = build(*ast.parts[i], to);
        return to;
      case Ast::Kind::kChoice: {
        std::int32_t entry = -1;
        for (std::size_t i = ast.parts.size(); i-- > 0;) entry = add({nullptr, build(*ast.parts[i], to), entry});
        return entry < 0 ? add({&nothing_, to, -1}) : entry;
      }
      case Ast::Kind::kRepeat: {
        if (ast.max < 0) {
          const std::int32_t loop = add({nullptr, to, -1});
          const std::int32_t body = build(*ast.parts[0], loop);
          if (!failed) states[static_cast<std::size_t>(loop)].b = body;
          to = ast.min > 0 ? body : loop;
          for (int i = 1; i < ast.min && !failed; ++i) to = build(*ast.parts[0], to);
          return to;
        }
        const std::int32_t out = to;
        for (int i = ast.min; i < ast.max && !failed; ++i) to = add({nullptr, build(*ast.parts[0], to), out});
        for (int i = 0; i < ast.min && !failed; ++i) to = build(*ast.parts[0], to);
        return to;
      }
      case Ast::Kind::kRule:
        break;
    }
    return to;
  }
  bool failed = false;

 private:
  Budget& budget_;
  CharSet nothing_;
};

void close_set(const std::vector<NfaState>& states, std::vector<std::int32_t>& set, std::vector<std::uint32_t>& seen,
               std::uint32_t stamp) {
  std::vector<std::int32_t> stack = std::move(set);
  set.clear();
  while (!stack.empty()) {
    const std::int32_t at = stack.back();
    stack.pop_back();
    if (at < 0 || seen[static_cast<std::size_t>(at)] == stamp) continue;
    seen[static_cast<std::size_t>(at)] = stamp;
    const NfaState& state = states[static_cast<std::size_t>(at)];
    if (state.set != nullptr || state.a < 0) {
      set.push_back(at);
    } else {
      stack.push_back(state.b);
      stack.push_back(state.a);
    }
  }
  std::sort(set.begin(), set.end());
}

void fill_ascii(Dfa& dfa) {
  for (std::uint32_t code = 0; code < 128; ++code)
    dfa.ascii[code] =
        static_cast<std::uint16_t>(std::upper_bound(dfa.cuts.begin(), dfa.cuts.end(), code) - dfa.cuts.begin() - 1);
}

/// Takes away what cannot be reached or leads nowhere.
DfaPtr trim(Dfa dfa) {
  const std::size_t count = dfa.size(), classes = dfa.classes();
  std::vector<std::vector<std::int32_t>> back(count);
  for (std::size_t s = 0; s < count; ++s)
    for (std::size_t c = 0; c < classes; ++c)
      if (const auto t = dfa.next[s * classes + c]; t >= 0 && (c == 0 || t != dfa.next[s * classes + c - 1]))
        back[static_cast<std::size_t>(t)].push_back(static_cast<std::int32_t>(s));
  std::vector<bool> live(count, false);
  std::vector<std::int32_t> stack;
  for (std::size_t s = 0; s < count; ++s)
    if (dfa.label[s] >= 0) live[s] = true, stack.push_back(static_cast<std::int32_t>(s));
  while (!stack.empty()) {
    const auto s = static_cast<std::size_t>(stack.back());
    stack.pop_back();
    for (const auto p : back[s])
      if (!live[static_cast<std::size_t>(p)]) live[static_cast<std::size_t>(p)] = true, stack.push_back(p);
  }
  auto out = std::make_shared<Dfa>();
  out->cuts = dfa.cuts;
  out->ascii = dfa.ascii;
  if (dfa.start < 0 || !live[static_cast<std::size_t>(dfa.start)]) return out;
  std::vector<std::int32_t> renamed(count, -1);
  std::vector<std::int32_t> order{dfa.start};
  renamed[static_cast<std::size_t>(dfa.start)] = 0;
  for (std::size_t i = 0; i < order.size(); ++i) {
    const auto s = static_cast<std::size_t>(order[i]);
    out->label.push_back(dfa.label[s]);
    for (std::size_t c = 0; c < classes; ++c) {
      const std::int32_t t = dfa.next[s * classes + c];
      if (t < 0 || !live[static_cast<std::size_t>(t)]) {
        out->next.push_back(-1);
        continue;
      }
      auto& name = renamed[static_cast<std::size_t>(t)];
      if (name < 0) name = static_cast<std::int32_t>(order.size()), order.push_back(t);
      out->next.push_back(name);
    }
  }
  out->start = 0;
  return out;
}

struct VectorHash {
  std::size_t operator()(const std::vector<std::int32_t>& v) const {
    std::uint64_t h = 1469598103934665603u;
    for (const auto x : v) h = (h ^ static_cast<std::uint32_t>(x)) * 1099511628211u;
    return h;
  }
};

std::vector<std::uint32_t> cut_points(const std::vector<NfaState>& states, Budget& budget) {
  std::vector<std::uint32_t> cuts{0, kTextStart, kTextEnd, kTextEnd + 1};
  for (const auto& state : states)
    if (state.set != nullptr)
      for (const Range& range : *state.set) {
        cuts.push_back(range.lo), cuts.push_back(range.hi + 1);
        budget.spend(1);
      }
  std::sort(cuts.begin(), cuts.end());
  cuts.erase(std::unique(cuts.begin(), cuts.end()), cuts.end());
  return cuts;
}

/// Subset construction over texts between kTextStart and kTextEnd.
Result<DfaPtr> determinise(const std::vector<NfaState>& states, std::int32_t entry, std::int32_t end, Budget& budget) {
  Dfa dfa;
  dfa.cuts = cut_points(states, budget);
  const std::size_t classes = dfa.cuts.size();
  fill_ascii(dfa);
  const auto class_at = [&](std::uint32_t code) {
    return static_cast<std::size_t>(std::upper_bound(dfa.cuts.begin(), dfa.cuts.end(), code) - dfa.cuts.begin() - 1);
  };
  std::vector<std::uint32_t> seen(states.size(), 0);
  std::uint32_t stamp = 0;
  std::unordered_map<std::vector<std::int32_t>, std::int32_t, VectorHash> names;
  std::vector<const std::vector<std::int32_t>*> sets;
  std::vector<std::vector<std::int32_t>> moves(classes);
  const auto move_all = [&](const std::vector<std::int32_t>& set) {
    for (auto& move : moves) move.clear();
    std::uint64_t work = classes;
    for (const auto s : set) {
      const NfaState& state = states[static_cast<std::size_t>(s)];
      if (state.set == nullptr) continue;
      for (const Range& range : *state.set)
        for (std::size_t c = class_at(range.lo); c < classes && dfa.cuts[c] <= range.hi; ++c)
          moves[c].push_back(state.a), ++work;
    }
    return budget.spend(work);
  };
  const auto name_of = [&](std::vector<std::int32_t> set) -> std::int32_t {
    if (set.empty()) return -1;
    const auto before = set.size();
    close_set(states, set, seen, ++stamp);
    budget.spend(before + 4 * set.size());
    if (set.empty()) return -1;
    const auto [place, fresh] = names.emplace(std::move(set), static_cast<std::int32_t>(sets.size()));
    if (fresh) {
      sets.push_back(&place->first);
      budget.spend(place->first.size() + classes);
    }
    return place->second;
  };
  std::vector<std::int32_t> first{entry};
  close_set(states, first, seen, ++stamp);
  if (!move_all(first)) return over_budget("a regular expression");
  const std::size_t start_class = class_at(kTextStart), end_class = class_at(kTextEnd);
  dfa.start = name_of(moves[start_class]);
  std::uint64_t held = 0;
  for (std::size_t i = 0; i < sets.size(); ++i) {
    if (sets.size() > kMostDfaStates || !move_all(*sets[i])) return over_budget("a regular expression");
    held += sets[i]->size() * 8 + classes * 4;
    if (held > Budget::kBytes) return over_budget("a regular expression");
    std::vector<std::int32_t> last = moves[end_class];
    close_set(states, last, seen, ++stamp);
    dfa.label.push_back(std::find(last.begin(), last.end(), end) != last.end() ? 0 : -1);
    for (std::size_t c = 0; c < classes; ++c) {
      const bool inner = dfa.cuts[c] <= kLastCodePoint;
      const bool same = c > 0 && inner && moves[c] == moves[c - 1];
      dfa.next.push_back(same ? dfa.next.back() : inner ? name_of(moves[c]) : -1);
    }
  }
  if (!budget.hold(dfa.next.size() * 4)) return over_budget("a regular expression");
  return trim(std::move(dfa));
}

/// Walks several automata side by side; label_of(states) gives the label.
template <typename LabelOf>
Result<DfaPtr> product(std::span<const DfaPtr> parts, bool all_needed, LabelOf label_of, Budget& budget) {
  Dfa dfa;
  dfa.cuts = {0};
  for (const auto& part : parts) dfa.cuts.insert(dfa.cuts.end(), part->cuts.begin(), part->cuts.end());
  std::sort(dfa.cuts.begin(), dfa.cuts.end());
  dfa.cuts.erase(std::unique(dfa.cuts.begin(), dfa.cuts.end()), dfa.cuts.end());
  fill_ascii(dfa);
  std::unordered_map<std::vector<std::int32_t>, std::int32_t, VectorHash> names;
  std::vector<const std::vector<std::int32_t>*> sets;
  const auto name_of = [&](std::vector<std::int32_t> set) -> std::int32_t {
    if (all_needed && std::find(set.begin(), set.end(), -1) != set.end()) return -1;
    const auto [place, fresh] = names.emplace(std::move(set), static_cast<std::int32_t>(sets.size()));
    if (fresh) sets.push_back(&place->first);
    return place->second;
  };
  std::vector<std::int32_t> first;
  for (const auto& part : parts) first.push_back(part->start);
  dfa.start = name_of(first);
  for (std::size_t i = 0; i < sets.size(); ++i) {
    if (sets.size() > kMostDfaStates || !budget.spend(dfa.cuts.size() * (parts.size() + 4)))
      return over_budget("an intersection of regular expressions");
    const std::vector<std::int32_t> set = *sets[i];
    dfa.label.push_back(label_of(set));
    for (const std::uint32_t cut : dfa.cuts) {
      if (cut > kLastCodePoint) {
        dfa.next.push_back(-1);
        continue;
      }
      std::vector<std::int32_t> to;
      for (std::size_t p = 0; p < parts.size(); ++p) to.push_back(set[p] < 0 ? -1 : parts[p]->step(set[p], cut));
      dfa.next.push_back(name_of(std::move(to)));
    }
  }
  if (!budget.hold(dfa.next.size() * 4)) return over_budget("an intersection of regular expressions");
  return trim(std::move(dfa));
}

}  // namespace

std::size_t Dfa::class_of(std::uint32_t code) const {
  if (code < 128) return ascii[code];
  return static_cast<std::size_t>(std::upper_bound(cuts.begin(), cuts.end(), code) - cuts.begin() - 1);
}

bool Dfa::matches(std::u32string_view text) const {
  std::int32_t state = start;
  for (const char32_t c : text) {
    if (state < 0) return false;
    state = step(state, c);
  }
  return state >= 0 && label[static_cast<std::size_t>(state)] >= 0;
}

Result<DfaPtr> make_dfa(const AstPtr& ast, bool search, Budget& budget) {
  const AstPtr first = ast_chars({{kTextStart, kTextStart}}), last = ast_chars({{kTextEnd, kTextEnd}});
  const AstPtr any = ast_repeat(ast_chars({{0, kLastCodePoint}}), 0, -1);
  const AstPtr before = search ? ast_sequence({first, any}) : first, after = search ? ast_sequence({any, last}) : last;
  const AstPtr whole = ast_sequence({ast_repeat(before, 0, 1), ast, ast_repeat(after, 0, 1)});
  NfaBuilder builder(budget);
  const std::int32_t end = builder.add({});
  const std::int32_t entry = builder.build(*whole, end);
  if (builder.failed) return over_budget("a regular expression");
  return determinise(builder.states, entry, end, budget);
}

Result<DfaPtr> make_word_dfa(std::vector<std::u32string> words, Budget& budget, bool others) {
  std::sort(words.begin(), words.end());
  words.erase(std::unique(words.begin(), words.end()), words.end());
  Dfa dfa;
  dfa.cuts = {0};
  std::size_t total = 0, states = 1 + (others ? 1 : 0), most = 1'000;
  const auto sort_cuts = [&] {
    std::sort(dfa.cuts.begin(), dfa.cuts.end());
    dfa.cuts.erase(std::unique(dfa.cuts.begin(), dfa.cuts.end()), dfa.cuts.end());
  };
  std::u32string_view before;
  for (const std::u32string_view word : words) {
    const auto shared = std::mismatch(word.begin(), word.end(), before.begin(), before.end()).first - word.begin();
    states += word.size() - static_cast<std::size_t>(shared);
    for (const char32_t c : word.substr(static_cast<std::size_t>(shared))) {
      dfa.cuts.push_back(c), dfa.cuts.push_back(c + 1);
      if (dfa.cuts.size() > most) sort_cuts(), most = 2 * dfa.cuts.size() + 1'000;
    }
    total += word.size();
    before = word;
  }
  sort_cuts();
  fill_ascii(dfa);
  const std::size_t classes = dfa.classes();
  if (!budget.spend(total * 4 + states * classes) || !budget.hold(states * (classes * 4 + 4)))
    return over_budget("an enumeration");
  dfa.label.reserve(states);
  dfa.next.reserve(states * classes);
  const auto add = [&] {
    dfa.label.push_back(-1);
    dfa.next.insert(dfa.next.end(), classes, -1);
    return static_cast<std::int32_t>(dfa.size() - 1);
  };
  dfa.start = add();
  for (const auto& word : words) {
    std::int32_t at = 0;
    for (const char32_t c : word) {
      const std::size_t slot = static_cast<std::size_t>(at) * classes + dfa.class_of(c);
      if (dfa.next[slot] < 0) {
        const std::int32_t fresh = add();
        dfa.next[slot] = fresh;
      }
      at = dfa.next[slot];
    }
    dfa.label[static_cast<std::size_t>(at)] = 0;
  }
  if (words.empty() && !others) dfa.start = -1;
  if (others) {
    const std::int32_t sink = add();
    for (auto& next : dfa.next) next = next < 0 ? sink : next;
    for (auto& label : dfa.label) label = label < 0 ? 0 : -1;
  }
  return std::make_shared<const Dfa>(std::move(dfa));
}

Result<DfaPtr> complement(const DfaPtr& dfa, Budget& budget) {
  const DfaPtr parts[] = {dfa};
  return product(
      parts, false,
      [&](const std::vector<std::int32_t>& s) {
        return s[0] >= 0 && dfa->label[static_cast<std::size_t>(s[0])] >= 0 ? -1 : 0;
      },
      budget);
}

Result<DfaPtr> intersect(const DfaPtr& a, const DfaPtr& b, Budget& budget) {
  if (!a) return b;
  if (!b || a == b) return a;
  const DfaPtr parts[] = {a, b};
  return product(
      parts, true,
      [&](const std::vector<std::int32_t>& s) {
        return a->label[static_cast<std::size_t>(s[0])] >= 0 && b->label[static_cast<std::size_t>(s[1])] >= 0 ? 0 : -1;
      },
      budget);
}

Result<DfaPtr> classify(std::span<const DfaPtr> parts, Budget& budget) {
  return product(
      parts, false,
      [&](const std::vector<std::int32_t>& s) {
        std::int32_t label = 0;
        for (std::size_t p = 0; p < parts.size(); ++p)
          if (s[p] >= 0 && parts[p]->label[static_cast<std::size_t>(s[p])] >= 0) label |= 1 << p;
        return label;
      },
      budget);
}

Result<DfaPtr> with_label(const DfaPtr& dfa, std::int32_t label, Budget& budget) {
  if (!budget.spend(dfa->next.size() * 3) || !budget.hold(dfa->next.size() * 4))
    return over_budget("property patterns");
  Dfa copy = *dfa;
  for (auto& l : copy.label) l = l == label ? 0 : -1;
  return trim(std::move(copy));
}

}  // namespace kinglet::grammar
