#include "kinglet/grammar.h"

#include "base/try.h"
#include "decode/grammar/compile.h"
#include "decode/grammar/runner.h"

namespace kinglet {

using grammar::Budget;
using grammar::Machine;

Result<Grammar> Grammar::from_schema(std::string_view schema, SchemaOptions options) {
  auto machine = std::make_shared<Machine>();
  Budget budget;
  KINGLET_CHECK(grammar::compile_schema(schema, options, *machine, budget));
  return Grammar(std::move(machine));
}

Result<Grammar> Grammar::from_tags(std::string_view tags, SchemaOptions options) {
  auto machine = std::make_shared<Machine>();
  KINGLET_CHECK(grammar::compile_tags(tags, options, *machine));
  return Grammar(std::move(machine));
}

Result<Grammar> Grammar::from_gbnf(std::string_view text) {
  auto machine = std::make_shared<Machine>();
  KINGLET_CHECK(grammar::compile_gbnf(text, *machine));
  return Grammar(std::move(machine));
}

Result<Grammar> Grammar::from_regex(std::string_view pattern) {
  Budget budget;
  KINGLET_TRY(const auto ast, grammar::parse_regex(pattern, budget));
  KINGLET_TRY(auto dfa, grammar::make_dfa(ast, false, budget));
  if (dfa->empty()) return fail(ErrorCode::kInvalidArgument, "regular expression: no text matches it");
  auto machine = std::make_shared<Machine>();
  machine->root = machine->add(std::make_unique<grammar::CharTerminal>(dfa, grammar::CharTerminal::Mode::kPlain));
  return Grammar(std::move(machine));
}

Result<Grammar> Grammar::from_choices(std::span<const std::string> choices) {
  Budget budget;
  std::vector<std::u32string> words;
  for (const std::string& choice : choices) {
    auto word = grammar::decode_utf8(choice);
    if (!word) return fail(ErrorCode::kInvalidArgument, "choices: not valid UTF-8");
    words.push_back(std::move(*word));
  }
  if (words.empty()) return fail(ErrorCode::kInvalidArgument, "choices: there is none");
  KINGLET_TRY(auto dfa, grammar::make_word_dfa(std::move(words), budget));
  auto machine = std::make_shared<Machine>();
  machine->root = machine->add(std::make_unique<grammar::CharTerminal>(dfa, grammar::CharTerminal::Mode::kPlain));
  return Grammar(std::move(machine));
}

GrammarVocabulary::GrammarVocabulary(const Tokenizer& tokenizer)
    : trie_(std::make_unique<grammar::TokenTrie>(tokenizer)) {}
GrammarVocabulary::~GrammarVocabulary() = default;
GrammarVocabulary::GrammarVocabulary(GrammarVocabulary&&) noexcept = default;

GrammarMatcher::GrammarMatcher(Grammar grammar, std::shared_ptr<const GrammarVocabulary> vocabulary,
                               std::size_t cache_bytes)
    : runner_(std::make_unique<grammar::Runner>(grammar.machine(), std::move(vocabulary), cache_bytes)) {}
GrammarMatcher::~GrammarMatcher() = default;
GrammarMatcher::GrammarMatcher(GrammarMatcher&&) noexcept = default;

std::span<const std::uint64_t> GrammarMatcher::mask() { return runner_->mask(); }
std::span<const TokenId> GrammarMatcher::allowed() { return runner_->allowed(); }
std::size_t GrammarMatcher::allowed_count() { return runner_->allowed_count(); }
bool GrammarMatcher::accept(TokenId token) { return runner_->accept(token); }
void GrammarMatcher::rollback(std::size_t count) { runner_->rollback(count); }
bool GrammarMatcher::is_complete() const { return runner_->is_complete(); }
bool GrammarMatcher::ended() const { return runner_->ended(); }
std::string GrammarMatcher::forced_text(std::size_t limit) { return runner_->forced_text(limit); }
std::optional<Error> GrammarMatcher::failure() const {
  if (!runner_->exhausted()) return std::nullopt;
  return too_much();
}
Error GrammarMatcher::too_much() {
  return {.code = ErrorCode::kExhausted,
          .message = "the grammar is too ambiguous, or the text nested too deeply, to say what may follow",
          .place = {},
          .hint = "Let fewer rules or alternatives stand for the same text."};
}
void GrammarMatcher::reset() { runner_->reset(); }
std::size_t GrammarMatcher::cache_bytes() const { return runner_->cache_bytes(); }
bool GrammarMatcher::matches(std::string_view text) { return runner_->matches(text); }

}  // namespace kinglet
