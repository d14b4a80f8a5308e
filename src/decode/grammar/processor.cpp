// A grammar in the chain of logits processors.
#include <limits>

#include "kinglet/grammar.h"

namespace kinglet {
namespace {

class GrammarProcessor final : public LogitsProcessor {
 public:
  GrammarProcessor(Grammar grammar, std::shared_ptr<const GrammarVocabulary> vocabulary)
      : matcher_(std::move(grammar), std::move(vocabulary)) {}

  // The prompt's tokens come before the first mask; they are not part of the grammar's text.
  std::optional<std::span<const TokenId>> allowed() override {
    started_ = true;
    return matcher_.allowed();
  }
  void apply(Candidates& candidates) override {
    started_ = true;
    const auto mask = matcher_.mask();
    const auto logits = candidates.change_logits();
    for (std::size_t i = 0; i < logits.size(); ++i) {
      const auto id = static_cast<std::size_t>(candidates.id(i));
      if (id / 64 >= mask.size() || (mask[id / 64] >> (id % 64) & 1) == 0)
        logits[i] = -std::numeric_limits<float>::infinity();
    }
  }
  void accept(TokenId id) override {
    if (!started_) return;
    taken_.push_back(matcher_.accept(id));
  }
  void rollback(std::int64_t count) override {
    for (; count > 0 && !taken_.empty(); --count) {
      if (taken_.back()) matcher_.rollback(1);
      taken_.pop_back();
    }
  }

 private:
  GrammarMatcher matcher_;
  std::vector<bool> taken_;
  bool started_ = false;
};

}  // namespace

std::shared_ptr<LogitsProcessor> make_grammar_processor(Grammar grammar,
                                                        std::shared_ptr<const GrammarVocabulary> vocabulary) {
  return std::make_shared<GrammarProcessor>(std::move(grammar), std::move(vocabulary));
}

}  // namespace kinglet
