// GBNF's rules to nodes: those without recursion become one finite automaton; the others call one another.
#include <algorithm>
#include <map>

#include "base/try.h"
#include "decode/grammar/compile.h"
#include "decode/grammar/gbnf_parser.h"

namespace kinglet::grammar {
namespace {

constexpr int kDepth = 128;
constexpr std::size_t kMostInlined = 2'000;  ///< nodes of a rule that others take in

/// Empty transitions and calls between positions of one rule.
class RuleCaller final : public Caller {
 public:
  struct Position {
    std::vector<Edge> calls;
    std::vector<std::uint32_t> skips;
  };
  std::vector<Position> positions;  ///< until settle()
  std::uint32_t entry = 0, exit = 0;

  NodeState start() const override { return {entry, 0}; }
  bool edges(NodeState state, std::vector<Edge>& out) const override {
    const Reach& reach = reaches_[state.a];
    const auto first = edges_.begin() + static_cast<std::ptrdiff_t>(reach.first);
    out.insert(out.end(), first, first + static_cast<std::ptrdiff_t>(reach.count));
    return reach.ends;
  }
  bool only_ends(NodeState state, std::vector<Edge>&) const override {
    const Reach& reach = reaches_[state.a];
    return reach.ends && reach.count == 0;
  }
  /// What is called from the positions where calls come back, by way of skips.
  Result<void> settle(Budget& budget) {
    reaches_.resize(positions.size());
    std::vector<std::uint32_t> seen_from(positions.size(), kNowhere), stack, wanted{entry};
    std::vector<bool> known(positions.size(), false);
    while (!wanted.empty()) {
      const std::uint32_t from = wanted.back();
      wanted.pop_back();
      if (known[from]) continue;
      known[from] = true;
      Reach& reach = reaches_[from];
      reach.first = edges_.size();
      stack.assign(1, from);
      while (!stack.empty()) {
        const std::uint32_t at = stack.back();
        stack.pop_back();
        if (seen_from[at] == from) continue;
        seen_from[at] = from;
        const Position& position = positions[at];
        if (!budget.spend(1 + position.skips.size() + position.calls.size()) ||
            !budget.hold(position.calls.size() * sizeof(Edge)))
          return over_budget("a grammar");
        reach.ends = reach.ends || at == exit;
        edges_.insert(edges_.end(), position.calls.begin(), position.calls.end());
        stack.insert(stack.end(), position.skips.begin(), position.skips.end());
      }
      reach.count = edges_.size() - reach.first;
      for (std::size_t e = reach.first; e < edges_.size(); ++e)
        wanted.push_back(static_cast<std::uint32_t>(edges_[e].target.a));
    }
    positions = {};
    return {};
  }

 private:
  static constexpr std::uint32_t kNowhere = ~std::uint32_t{0};
  struct Reach {
    std::size_t first = 0, count = 0;  ///< in edges_
    bool ends = false;
  };
  std::vector<Reach> reaches_;  ///< by position
  std::vector<Edge> edges_;
};

class Compiler {
 public:
  Compiler(std::vector<GbnfRule>& rules, Machine& machine, Budget& budget)
      : rules_(rules), machine_(machine), budget_(budget), inlined_(rules.size()), mark_(rules.size(), 0) {}

  Result<void> compile(std::uint32_t root) {
    for (std::uint32_t r = 0; r < rules_.size(); ++r) {
      KINGLET_TRY(const bool flat, flatten(r, 0));
      (void)flat;
    }
    KINGLET_CHECK(check_left_recursion());
    std::vector<RuleCaller*> callers;
    for (std::uint32_t r = 0; r < rules_.size(); ++r) {
      auto caller = std::make_unique<RuleCaller>();
      callers.push_back(caller.get());
      machine_.add(std::unique_ptr<const Caller>(std::move(caller)));
    }
    for (std::uint32_t r = 0; r < rules_.size(); ++r) {
      RuleCaller& caller = *callers[r];
      caller.positions.resize(1);
      KINGLET_TRY(caller.entry, build(inlined_[r] ? inlined_[r] : expanded(rules_[r].body), 0, caller));
      KINGLET_CHECK(caller.settle(budget_));
    }
    machine_.root = root;
    return {};
  }

 private:
  static std::size_t size(const Ast& ast) {
    std::size_t n = 1;
    for (const AstPtr& part : ast.parts) n += size(*part);
    return n;
  }
  /// `ast` with the rules that could be flattened in their places.
  AstPtr expanded(const AstPtr& ast) const {
    if (ast->kind == Ast::Kind::kRule) return inlined_[ast->rule] ? inlined_[ast->rule] : ast;
    if (ast->parts.empty()) return ast;
    Ast copy = *ast;
    for (AstPtr& part : copy.parts) part = expanded(part);
    return std::make_shared<const Ast>(std::move(copy));
  }
  void calls(const Ast& ast, std::vector<std::uint32_t>& out) const {
    if (ast.kind == Ast::Kind::kRule) out.push_back(ast.rule);
    for (const AstPtr& part : ast.parts) calls(*part, out);
  }
  Result<bool> flatten(std::uint32_t rule, int depth) {
    if (mark_[rule] == 2) return inlined_[rule] != nullptr;
    if (mark_[rule] == 1 || depth > kDepth) return false;
    mark_[rule] = 1;
    std::vector<std::uint32_t> called;
    calls(*rules_[rule].body, called);
    bool flat = true;
    for (const std::uint32_t other : called) {
      KINGLET_TRY(const bool one, flatten(other, depth + 1));
      flat = flat && one;
    }
    if (flat) {
      std::size_t total = size(*rules_[rule].body);
      for (const std::uint32_t other : called) total += size(*inlined_[other]);
      if (!budget_.spend(total)) return over_budget("a grammar");
      if (total <= kMostInlined) inlined_[rule] = expanded(rules_[rule].body);
    }
    mark_[rule] = 2;
    return inlined_[rule] != nullptr;
  }

  // Whether `ast` can be empty, and the rules that it may begin with.
  bool first(const Ast& ast, std::vector<std::uint32_t>& out) const {
    switch (ast.kind) {
      case Ast::Kind::kChars:
        return false;
      case Ast::Kind::kRule:
        out.push_back(ast.rule);
        return nullable_[ast.rule];
      case Ast::Kind::kRepeat:
        return first(*ast.parts[0], out) || ast.min == 0;
      case Ast::Kind::kSequence:
        for (const AstPtr& part : ast.parts)
          if (!first(*part, out)) return false;
        return true;
      case Ast::Kind::kChoice: {
        bool empty = false;
        for (const AstPtr& part : ast.parts) empty = first(*part, out) || empty;
        return empty;
      }
    }
    return false;
  }
  Result<void> check_left_recursion() {
    nullable_.assign(rules_.size(), false);
    std::vector<std::vector<std::uint32_t>> firsts(rules_.size());
    for (bool changed = true; changed;) {
      changed = false;
      for (std::uint32_t r = 0; r < rules_.size(); ++r) {
        firsts[r].clear();
        const bool empty = first(*rules_[r].body, firsts[r]);
        if (!budget_.spend(firsts[r].size() + 10)) return over_budget("a grammar");
        if (empty && !nullable_[r]) nullable_[r] = changed = true;
      }
    }
    std::vector<int> open(rules_.size(), 0);
    for (std::uint32_t r = 0; r < rules_.size(); ++r) {
      if (open[r] != 0) continue;
      std::vector<std::pair<std::uint32_t, std::size_t>> path{{r, 0}};
      open[r] = 1;
      while (!path.empty()) {
        auto& [at, next] = path.back();
        if (next == firsts[at].size()) {
          open[at] = 2;
          path.pop_back();
          continue;
        }
        const std::uint32_t to = firsts[at][next++];
        if (open[to] == 1)
          return fail(ErrorCode::kUnsupported, "grammar: the rule \"" + rules_[to].name + "\" begins with itself",
                      "Write left recursion as a repetition: a ::= b (\",\" b)*.");
        if (open[to] == 0) open[to] = 1, path.emplace_back(to, 0);
      }
    }
    return {};
  }

  std::uint32_t add(RuleCaller& caller) {
    caller.positions.emplace_back();
    return static_cast<std::uint32_t>(caller.positions.size() - 1);
  }
  Result<std::uint32_t> build(const AstPtr& ast, std::uint32_t to, RuleCaller& caller) {
    if (!budget_.spend(4) || !budget_.hold(64)) return over_budget("a grammar");
    if (ast->kind == Ast::Kind::kRule || !has_rules(*ast)) {
      const std::uint32_t at = add(caller);
      NodeId callee = ast->rule;
      if (ast->kind != Ast::Kind::kRule) {
        KINGLET_TRY(DfaPtr dfa, make_dfa(ast, false, budget_));
        if (dfa->empty()) return at;
        callee = machine_.add(std::make_unique<CharTerminal>(std::move(dfa), CharTerminal::Mode::kPlain));
      }
      caller.positions[at].calls.push_back({callee, {to, 0}});
      return at;
    }
    if (ast->kind == Ast::Kind::kSequence) {
      // Neighbours without calls become one automaton.
      for (std::size_t i = ast->parts.size(); i > 0;) {
        std::size_t from = i - 1;
        if (!has_rules(*ast->parts[from]))
          while (from > 0 && !has_rules(*ast->parts[from - 1])) --from;
        const auto begin = ast->parts.begin();
        std::vector<AstPtr> run(begin + static_cast<std::ptrdiff_t>(from), begin + static_cast<std::ptrdiff_t>(i));
        KINGLET_TRY(to, build(ast_sequence(std::move(run)), to, caller));
        i = from;
      }
      return to;
    }
    if (ast->kind == Ast::Kind::kChoice) {
      const std::uint32_t at = add(caller);
      std::vector<AstPtr> flat;
      for (const AstPtr& part : ast->parts) {
        if (!has_rules(*part)) {
          flat.push_back(part);
          continue;
        }
        KINGLET_TRY(const std::uint32_t entry, build(part, to, caller));
        caller.positions[at].skips.push_back(entry);
      }
      if (!flat.empty()) {
        KINGLET_TRY(const std::uint32_t entry, build(ast_choice(std::move(flat)), to, caller));
        caller.positions[at].skips.push_back(entry);
      }
      return at;
    }
    const AstPtr& body = ast->parts[0];
    if (ast->max < 0) {
      const std::uint32_t loop = add(caller);
      KINGLET_TRY(const std::uint32_t entry, build(body, loop, caller));
      caller.positions[loop].skips = {to, entry};
      to = loop;
    }
    // Each may be the last one: none has to skip all that follow one by one.
    const std::uint32_t behind = to;
    for (int i = ast->min; i < ast->max; ++i) {
      KINGLET_TRY(const std::uint32_t entry, build(body, to, caller));
      const std::uint32_t at = add(caller);
      caller.positions[at].skips = {entry, behind};
      to = at;
    }
    for (int i = 0; i < ast->min; ++i) {
      KINGLET_TRY(to, build(body, to, caller));
    }
    return to;
  }

  std::vector<GbnfRule>& rules_;
  Machine& machine_;
  Budget& budget_;
  std::vector<AstPtr> inlined_;
  std::vector<int> mark_;
  std::vector<bool> nullable_;
};

}  // namespace

Result<void> compile_gbnf(std::string_view text, Machine& machine) {
  const auto codes = decode_utf8(text);
  if (!codes) return fail(ErrorCode::kInvalidArgument, "grammar: not valid UTF-8");
  Budget budget;
  if (codes->size() > (std::size_t{4} << 20)) return over_budget("a grammar");
  KINGLET_TRY(std::vector<GbnfRule> rules, parse_gbnf(*codes, budget));
  std::uint32_t root = 0;
  for (std::uint32_t r = 0; r < rules.size(); ++r)
    if (rules[r].name == "root") root = r;
  KINGLET_CHECK(drop_endless(rules, root, budget));
  return Compiler(rules, machine, budget).compile(root);
}

}  // namespace kinglet::grammar
