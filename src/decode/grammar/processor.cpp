// A grammar in the chain of logits processors.
#include <bit>
#include <chrono>
#include <limits>

#include "kinglet/grammar.h"

namespace kinglet {
namespace {

constexpr std::size_t kForcedBytes = 256;
constexpr std::size_t kContextTokens = 8;  ///< before the forced text, so that it is cut as it would be within a text

class GrammarProcessor final : public LogitsProcessor {
 public:
  GrammarProcessor(Grammar grammar, std::shared_ptr<const GrammarVocabulary> vocabulary,
                   GrammarProcessorOptions options)
      : matcher_(std::move(grammar), std::move(vocabulary)), options_(std::move(options)) {}

  // The prompt's tokens come before the first mask; they are not part of the grammar's text. Where a good part of the
  // vocabulary is allowed, every tile of the head has a row that is: the whole head and apply() are then cheaper.
  std::optional<std::span<const TokenId>> allowed() override {
    started_ = true;
    if (lost_ > 0) return std::span<const TokenId>();
    const auto start = std::chrono::steady_clock::now();
    const auto mask = matcher_.mask();
    if (options_.statistics)
      options_.statistics->mask_us.push_back(
          std::chrono::duration<float, std::micro>(std::chrono::steady_clock::now() - start).count());
    if (matcher_.allowed_count() * 8 > mask.size() * 64) return std::nullopt;
    return matcher_.allowed();
  }

  void apply(Candidates& candidates) override {
    started_ = true;
    const auto mask = lost_ > 0 ? std::span<const std::uint64_t>() : matcher_.mask();
    const auto logits = candidates.change_logits();
    constexpr float kNone = -std::numeric_limits<float>::infinity();
    if (candidates.dense()) {
      for (std::size_t word = 0; word * 64 < logits.size(); ++word)
        for (std::uint64_t bits = word < mask.size() ? ~mask[word] : ~std::uint64_t{0}; bits != 0; bits &= bits - 1)
          if (const std::size_t id = word * 64 + static_cast<std::size_t>(std::countr_zero(bits)); id < logits.size())
            logits[id] = kNone;
      return;
    }
    for (std::size_t i = 0; i < logits.size(); ++i) {
      const auto id = static_cast<std::size_t>(candidates.id(i));
      if (id / 64 >= mask.size() || (mask[id / 64] >> (id % 64) & 1) == 0) logits[i] = kNone;
    }
  }

  std::optional<Error> failure() const override { return lost_ > 0 ? GrammarMatcher::too_much() : matcher_.failure(); }

  void accept(TokenId id) override {
    if (!started_) return;
    const bool taken = matcher_.accept(id);
    taken_.emplace_back(id, taken);
    if (!taken && lost_ == 0 && matcher_.failure()) lost_ = taken_.size();
  }

  void rollback(std::int64_t count) override {
    for (; count > 0 && !taken_.empty(); --count) {
      if (taken_.back().second) matcher_.rollback(1);
      taken_.pop_back();
      if (taken_.size() < lost_) lost_ = 0;
    }
  }

  void foresee(std::size_t most, std::vector<TokenId>& out) override {
    if (options_.tokenizer == nullptr || lost_ > 0) return;
    started_ = true;
    const std::string text = matcher_.forced_text(kForcedBytes);
    if (text.empty()) return;
    if (!cut_within_context(text, out) && !cut_alone(text, out)) {
      out.clear();
      return;
    }
    keep_settled(text, out);
    if (out.size() > most) out.resize(most);
  }

 private:
  bool cut_within_context(const std::string& text, std::vector<TokenId>& out) const {
    std::string context;
    for (std::size_t i = taken_.size() - std::min(taken_.size(), kContextTokens); i < taken_.size(); ++i)
      context += options_.tokenizer->piece(taken_[i].first);
    if (context.empty()) return false;
    out = options_.tokenizer->encode(context + text);
    std::size_t at = 0, first = 0;
    while (first < out.size() && at < context.size()) at += options_.tokenizer->piece(out[first++]).size();
    if (at != context.size()) return false;  // a token across the border, or bytes that the tokenizer changes
    out.erase(out.begin(), out.begin() + static_cast<std::ptrdiff_t>(first));
    return spells(text, out);
  }
  bool cut_alone(const std::string& text, std::vector<TokenId>& out) const {
    out = options_.tokenizer->encode(text);
    return spells(text, out);
  }
  bool spells(const std::string& text, std::span<const TokenId> ids) const {
    std::string spelled;
    for (const TokenId id : ids) spelled += options_.tokenizer->piece(id);
    return spelled == text;
  }

  // Leaves the last token away where a longer one would do for it and for what may follow.
  void keep_settled(const std::string& text, std::vector<TokenId>& out) {
    std::size_t taken = 0;
    while (taken + 1 < out.size() && matcher_.accept(out[taken])) ++taken;
    const std::size_t last = options_.tokenizer->piece(out.back()).size();
    bool open = taken + 1 < out.size() || text.size() == kForcedBytes || matcher_.allowed_count() > kContextTokens * 32;
    if (!open)
      for (const TokenId id : matcher_.allowed()) open = open || options_.tokenizer->piece(id).size() > last;
    matcher_.rollback(taken);
    out.resize(open ? taken : taken + 1);
  }

  GrammarMatcher matcher_;
  GrammarProcessorOptions options_;
  std::vector<std::pair<TokenId, bool>> taken_;  ///< with whether the grammar allowed it
  std::size_t lost_ = 0;  ///< so many were taken when the matcher could not follow one that a mask allowed; 0: it could
  bool started_ = false;
};

}  // namespace

std::shared_ptr<LogitsProcessor> make_grammar_processor(Grammar grammar,
                                                        std::shared_ptr<const GrammarVocabulary> vocabulary,
                                                        GrammarProcessorOptions options) {
  return std::make_shared<GrammarProcessor>(std::move(grammar), std::move(vocabulary), std::move(options));
}

}  // namespace kinglet
