// Which rules of a grammar stand for some text at all.
#include "base/try.h"
#include "decode/grammar/gbnf_parser.h"

namespace kinglet::grammar {
namespace {

/// ends[r]: rule r stands for some text, as far as is known.
bool can_end(const Ast& ast, const std::vector<bool>& ends, std::uint64_t& steps) {
  ++steps;
  switch (ast.kind) {
    case Ast::Kind::kChars:
      return !ast.set.empty();
    case Ast::Kind::kRule:
      return ends[ast.rule];
    case Ast::Kind::kRepeat:
      return ast.min == 0 || can_end(*ast.parts[0], ends, steps);
    case Ast::Kind::kSequence:
      for (const AstPtr& part : ast.parts)
        if (!can_end(*part, ends, steps)) return false;
      return true;
    case Ast::Kind::kChoice:
      for (const AstPtr& part : ast.parts)
        if (can_end(*part, ends, steps)) return true;
      return false;
  }
  return false;
}

/// `ast` without what cannot end; null where nothing is left. Itself where all is.
AstPtr without_endless(const AstPtr& ast, const std::vector<bool>& ends) {
  if (ast->kind == Ast::Kind::kChars) return ast->set.empty() ? nullptr : ast;
  if (ast->kind == Ast::Kind::kRule) return ends[ast->rule] ? ast : nullptr;
  std::vector<AstPtr> parts;
  bool same = true;
  for (const AstPtr& part : ast->parts) {
    AstPtr left = without_endless(part, ends);
    same = same && left == part;
    if (left)
      parts.push_back(std::move(left));
    else if (ast->kind == Ast::Kind::kRepeat && ast->min == 0)
      return ast_sequence({});
    else if (ast->kind != Ast::Kind::kChoice)
      return nullptr;
  }
  if (same) return ast;
  if (ast->kind == Ast::Kind::kChoice) return parts.empty() ? nullptr : ast_choice(std::move(parts));
  Ast copy = *ast;
  copy.parts = std::move(parts);
  return std::make_shared<const Ast>(std::move(copy));
}

}  // namespace

Result<void> drop_endless(std::vector<GbnfRule>& rules, std::uint32_t root, Budget& budget) {
  std::vector<bool> ends(rules.size(), false);
  // Rules mostly stand before those that they call: backwards, one round finds nearly all.
  for (bool changed = true; changed;) {
    changed = false;
    for (std::size_t r = rules.size(); r-- > 0;) {
      if (ends[r]) continue;
      std::uint64_t steps = 0;
      ends[r] = can_end(*rules[r].body, ends, steps);
      changed = changed || ends[r];
      if (!budget.spend(steps)) return over_budget("a grammar");
    }
  }
  if (!ends[root])
    return fail(ErrorCode::kInvalidArgument, "grammar: no text belongs to \"" + rules[root].name + "\"",
                "Each of its alternatives needs a rule that needs itself again.");
  for (GbnfRule& rule : rules) {
    AstPtr left = without_endless(rule.body, ends);
    rule.body = left ? std::move(left) : ast_sequence({});
  }
  return {};
}

}  // namespace kinglet::grammar
