// Structured output: a JSON Schema, a GBNF grammar, a regular expression or a list of choices becomes one byte-level
// pushdown automaton; a matcher says which tokens of a vocabulary may come next.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kinglet/result.h"
#include "kinglet/sampling.h"
#include "kinglet/tokenizer.h"

namespace kinglet {

namespace grammar {
class Machine;
class TokenTrie;
class Runner;
}  // namespace grammar

struct SchemaOptions {
  bool any_order = false;  ///< properties in any order; otherwise in the schema's, further ones after
  bool compact = false;    ///< no white space between tokens
};

/// Compiled and immutable; cheap to copy and shared between threads. Compiling keeps to a budget of steps, states and
/// depth: kExhausted where a grammar asks for more, kUnsupported with the name of what is not supported.
class Grammar {
 public:
  static Result<Grammar> from_schema(std::string_view schema, SchemaOptions options = {});
  /// Free text with schemas between tags, for tool calls: {"triggers": [text, …], "tags": [{"begin": text, "schema": …,
  /// "end": text}, …], "at_least": N, "at_most": N}. Once a trigger is written, one of the tags that begin with it
  /// follows, the schema's JSON, the tag's end, and free text again. Without bounds, any number of tags.
  static Result<Grammar> from_tags(std::string_view tags, SchemaOptions options = {});
  static Result<Grammar> from_gbnf(std::string_view text);
  /// The whole text matches; ^ and $ may stand or be left away.
  static Result<Grammar> from_regex(std::string_view pattern);
  static Result<Grammar> from_choices(std::span<const std::string> choices);

  const std::shared_ptr<const grammar::Machine>& machine() const { return machine_; }

 private:
  explicit Grammar(std::shared_ptr<const grammar::Machine> machine) : machine_(std::move(machine)) {}
  std::shared_ptr<const grammar::Machine> machine_;
};

/// The bytes of a vocabulary as a trie, with the sets of tokens that stand for plain text. Made once a tokenizer
/// (linear in its bytes); shared between matchers. Does not keep the tokenizer.
class GrammarVocabulary {
 public:
  explicit GrammarVocabulary(const Tokenizer& tokenizer);
  ~GrammarVocabulary();
  GrammarVocabulary(GrammarVocabulary&&) noexcept;
  const grammar::TokenTrie& trie() const { return *trie_; }

 private:
  std::unique_ptr<grammar::TokenTrie> trie_;
};

/// One text on its way through a grammar. States and masks are made as they are reached and kept within `cache_bytes`;
/// each costs a bounded amount of work or fails.
/// Not for several threads at once.
class GrammarMatcher {
 public:
  GrammarMatcher(Grammar grammar, std::shared_ptr<const GrammarVocabulary> vocabulary,
                 std::size_t cache_bytes = std::size_t{32} << 20);
  ~GrammarMatcher();
  GrammarMatcher(GrammarMatcher&&) noexcept;

  /// One bit a token (bit id % 64 of word id / 64). End tokens are allowed where the text is complete. Valid until the
  /// next call.
  std::span<const std::uint64_t> mask();
  /// The same as ascending ids.
  std::span<const TokenId> allowed();
  std::size_t allowed_count();  ///< tokens in mask()
  /// False where the token is not allowed; the state then stays as it was.
  bool accept(TokenId token);
  /// Undoes the last `count` accepts.
  void rollback(std::size_t count);
  bool is_complete() const;  ///< the text so far is one whole text of the grammar
  bool ended() const;        ///< an end token was taken
  /// kExhausted where the last mask, token or match was given up, since there were too many ways to read the text, or
  /// it was nested too deeply: the mask then allows nothing.
  std::optional<Error> failure() const;
  static Error too_much();  ///< that error
  /// The bytes that must come next whatever is chosen, at most `limit`.
  std::string forced_text(std::size_t limit = 256);
  /// Back to the start; what is cached stays.
  void reset();
  /// For measurements: bytes that the cache holds.
  std::size_t cache_bytes() const;
  /// Whether `text` as a whole belongs to the grammar, byte by byte; does not touch the state.
  bool matches(std::string_view text);

 private:
  std::unique_ptr<grammar::Runner> runner_;
};

struct GrammarStatistics {
  std::vector<float> mask_us;  ///< one a mask that was asked for
};

struct GrammarProcessorOptions {
  /// Cuts forced text into tokens, which the loop then checks in one pass (jump-ahead); must outlive the processor.
  /// Null: nothing is foreseen.
  const Tokenizer* tokenizer = nullptr;
  std::shared_ptr<GrammarStatistics> statistics;  ///< null: nothing is measured
};

/// Tells the loop before the head which tokens the grammar allows, and foresees text that must follow.
std::shared_ptr<LogitsProcessor> make_grammar_processor(Grammar grammar,
                                                        std::shared_ptr<const GrammarVocabulary> vocabulary,
                                                        GrammarProcessorOptions options = {});

}  // namespace kinglet
