// Character sets and syntax trees of regular expressions.
#include <algorithm>

#include "decode/grammar/dfa.h"

namespace kinglet::grammar {

tl::unexpected<Error> over_budget(std::string_view what) {
  return fail(ErrorCode::kExhausted, std::string(what) + " needs more steps, states or bytes than a grammar may have",
              "Use smaller bounds or fewer alternatives.");
}

void normalise(CharSet& set) {
  std::sort(set.begin(), set.end(), [](Range a, Range b) { return a.lo < b.lo; });
  CharSet out;
  for (const Range range : set) {
    if (!out.empty() && range.lo <= out.back().hi + 1)
      out.back().hi = std::max(out.back().hi, range.hi);
    else
      out.push_back(range);
  }
  set = std::move(out);
}

CharSet complement(const CharSet& set) {
  CharSet out;
  std::uint32_t from = 0;
  for (const Range range : set) {
    if (range.lo > from) out.push_back({from, range.lo - 1});
    from = range.hi + 1;
  }
  if (from <= kLastCodePoint) out.push_back({from, kLastCodePoint});
  return out;
}

AstPtr ast_chars(CharSet set) {
  Ast ast;
  ast.kind = Ast::Kind::kChars;
  ast.set = std::move(set);
  return std::make_shared<const Ast>(std::move(ast));
}

AstPtr ast_text(std::u32string_view text) {
  std::vector<AstPtr> parts;
  for (const char32_t c : text) parts.push_back(ast_chars({{c, c}}));
  return ast_sequence(std::move(parts));
}

AstPtr ast_sequence(std::vector<AstPtr> parts) {
  if (parts.size() == 1) return parts[0];
  Ast ast;
  ast.parts = std::move(parts);
  return std::make_shared<const Ast>(std::move(ast));
}

AstPtr ast_choice(std::vector<AstPtr> parts) {
  if (parts.size() == 1) return parts[0];
  Ast ast;
  ast.kind = Ast::Kind::kChoice;
  ast.parts = std::move(parts);
  return std::make_shared<const Ast>(std::move(ast));
}

/// A repetition of a repetition that takes the same texts as a single one becomes that: stacked `*` and `+` would be as
/// many ways to the same state.
static void flatten_repeat(AstPtr& part, int& min, int& max) {
  if (part->kind != Ast::Kind::kRepeat || max == 0) return;
  const bool unbounded = part->max < 0, optional = part->min == 0 && part->max == 1;
  if (unbounded && part->min <= 1) {
    if (part->min == 0) min = 0;
    max = -1;
  } else if (optional && (max < 0 || max == 1)) {
    min = 0;
  } else {
    return;
  }
  part = part->parts[0];
}

AstPtr ast_repeat(AstPtr part, int min, int max) {
  flatten_repeat(part, min, max);
  Ast ast;
  ast.kind = Ast::Kind::kRepeat;
  ast.parts.push_back(std::move(part));
  ast.min = min;
  ast.max = max;
  return std::make_shared<const Ast>(std::move(ast));
}

bool has_rules(const Ast& ast) {
  if (ast.kind == Ast::Kind::kRule) return true;
  return std::any_of(ast.parts.begin(), ast.parts.end(), [](const AstPtr& part) { return has_rules(*part); });
}

}  // namespace kinglet::grammar
