// Regular languages over code points: syntax trees, and deterministic automata with their boolean operations.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kinglet/result.h"

namespace kinglet::grammar {

inline constexpr std::uint32_t kLastCodePoint = 0x10FFFF;
// Stand before and after every text, so that anchors are characters like any other.
inline constexpr std::uint32_t kTextStart = 0x110000, kTextEnd = 0x110001;

/// What compiling one grammar may cost. Once spent, everything that asks fails.
class Budget {
 public:
  bool spend(std::uint64_t steps) {
    steps_ += steps;
    return steps_ <= most_steps;
  }
  bool hold(std::uint64_t bytes) {
    bytes_ += bytes;
    return bytes_ <= kBytes;
  }
  static constexpr std::uint64_t kSteps = 20'000'000;  ///< well below a second
  static inline std::uint64_t most_steps = kSteps;     ///< less only where many grammars are tried, as in fuzzing
  static constexpr std::uint64_t kBytes = 24u << 20;   ///< of automata that stay

 private:
  std::uint64_t steps_ = 0, bytes_ = 0;
};
tl::unexpected<Error> over_budget(std::string_view what);

struct Range {
  std::uint32_t lo, hi;
};
using CharSet = std::vector<Range>;  ///< ascending, disjoint once normalised
void normalise(CharSet& set);
CharSet complement(const CharSet& set);

struct Ast;
using AstPtr = std::shared_ptr<const Ast>;
struct Ast {
  enum class Kind { kChars, kSequence, kChoice, kRepeat, kRule } kind = Kind::kSequence;
  CharSet set;
  std::vector<AstPtr> parts;
  int min = 0, max = -1;   ///< kRepeat; -1: no upper bound
  std::uint32_t rule = 0;  ///< kRule
};
AstPtr ast_chars(CharSet set);
AstPtr ast_text(std::u32string_view text);
AstPtr ast_sequence(std::vector<AstPtr> parts);
AstPtr ast_choice(std::vector<AstPtr> parts);
AstPtr ast_repeat(AstPtr part, int min, int max);
bool has_rules(const Ast& ast);

/// Deterministic; every state reaches an accepting one. -1: no transition.
struct Dfa {
  std::vector<std::uint32_t> cuts;  ///< class c: code points [cuts[c], cuts[c+1])
  std::vector<std::int32_t> next;   ///< [state * classes + class]
  std::vector<std::int32_t> label;  ///< -1: not accepting
  std::int32_t start = -1;          ///< -1: the empty language
  std::array<std::uint16_t, 128> ascii{};

  std::size_t classes() const { return cuts.size(); }
  std::size_t size() const { return label.size(); }
  bool empty() const { return start < 0; }
  std::size_t class_of(std::uint32_t code) const;
  std::int32_t step(std::int32_t state, std::uint32_t code) const {
    return next[static_cast<std::size_t>(state) * classes() + class_of(code)];
  }
  bool matches(std::u32string_view text) const;
};
using DfaPtr = std::shared_ptr<const Dfa>;

/// `ast` has no rules. Anchors are kTextStart and kTextEnd; `search`: the pattern may stand anywhere in the text.
Result<DfaPtr> make_dfa(const AstPtr& ast, bool search, Budget& budget);
/// Exactly these texts, or all but these.
Result<DfaPtr> make_word_dfa(std::vector<std::u32string> words, Budget& budget, bool others = false);
Result<DfaPtr> complement(const DfaPtr& dfa, Budget& budget);
Result<DfaPtr> intersect(const DfaPtr& a, const DfaPtr& b, Budget& budget);
/// All texts; label = bit i set where the text belongs to parts[i] (at most 20 parts).
Result<DfaPtr> classify(std::span<const DfaPtr> parts, Budget& budget);
/// The texts with this label.
Result<DfaPtr> with_label(const DfaPtr& dfa, std::int32_t label, Budget& budget);

/// ECMA-262 syntax (with the u flag's reading of code points).
Result<AstPtr> parse_regex(std::string_view pattern, Budget& budget);
std::optional<std::u32string> decode_utf8(std::string_view text);
void append_utf8(std::string& out, std::uint32_t code);

}  // namespace kinglet::grammar
