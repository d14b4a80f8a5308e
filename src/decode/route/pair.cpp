#include "kinglet/pair.h"

#include <algorithm>
#include <chrono>

#include "base/interrupt.h"
#include "base/try.h"
#include "decode/follower.h"
#include "decode/softmax.h"
#include "decode/text_stream.h"

namespace kinglet {
namespace {

using Clock = std::chrono::steady_clock;

double milliseconds_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

/// One answer.
class PairSession {
 public:
  PairSession(Follower& writer, Follower& checker, std::span<const TokenId> prompt, const PairPolicy& policy,
              const PairOptions& options)
      : writer_(writer),
        checker_(checker),
        tokenizer_(checker.engine().model().tokenizer()),
        policy_(policy),
        turns_(policy.turns()),
        options_(options),
        text_(prompt.begin(), prompt.end()),
        prompt_(prompt.size()),
        seen_(prompt.size()),
        stream_(options.stop) {
    const std::int64_t context = std::min(writer.engine().options().context, checker.engine().options().context);
    most_ = std::min(options.max_tokens, context - static_cast<std::int64_t>(prompt.size()));
    result_.answer.prompt_tokens = static_cast<std::int64_t>(prompt.size());
  }

  Result<PairGeneration> run() {
    start_ = Clock::now();
    const std::int64_t fed = checker_.rows();
    // An answer without a token asks no model.
    KINGLET_CHECK(room() <= 0 ? release() : turns_.checker_begins ? checker_step() : Result<void>());
    while (result_.answer.finish_reason.empty()) {
      if (interrupted()) {
        result_.answer.finish_reason = "cancelled";
        break;
      }
      KINGLET_CHECK(write());
      KINGLET_CHECK(visit());
    }
    Generation& answer = result_.answer;
    if (!has_first_) answer.prefill_ms = milliseconds_since(start_);
    if (has_first_) answer.decode_ms = milliseconds_since(first_);
    answer.decode_tokens = std::max<std::int64_t>(0, static_cast<std::int64_t>(answer.token_ids.size()) - 1);
    answer.target_passes = result_.visits;
    answer.drafted = result_.stood + result_.wasted;
    answer.accepted = result_.stood;
    result_.checker_rows = checker_.rows() - fed;
    result_.checker_nll = judged_ > 0 ? nll_ / static_cast<double>(judged_) : 0;
    const std::string_view rest = stream_.finish();
    if (!rest.empty() && options_.on_text && answer.finish_reason != "cancelled") options_.on_text(rest);
    answer.text = stream_.text();
    return std::move(result_);
  }

 private:
  std::int64_t room() const { return most_ - static_cast<std::int64_t>(text_.size() - prompt_); }
  bool ends(TokenId id) const { return tokenizer_.is_end(id) && !options_.ignore_eos; }

  /// One token of the checker at the end of the text; everything is then seen.
  Result<void> checker_step() {
    if (room() <= 0) return release();
    ++result_.visits;
    KINGLET_CHECK(checker_.read(text_, 1));
    text_.push_back(checker_.best(0));
    judge(0, text_.back());
    return release();
  }

  Result<void> write() {
    written_.clear();
    while (written_.size() < static_cast<std::size_t>(options_.block) && room() > 0) {
      KINGLET_CHECK(writer_.read(text_, 1));
      const auto logits = writer_.row(0);
      if (policy_.hands_over(logits)) break;
      const TokenId token = writer_.best(0);
      text_.push_back(token);
      written_.push_back(logits[static_cast<std::size_t>(token)] - log_sum_exp(logits));
      if (ends(token)) break;
    }
    return {};
  }

  /// The checker reads what was written in one pass and undoes it from the first token on that it objects to. The last
  /// block is checked however short it is: nothing unseen is ever released.
  Result<void> visit() {
    ++result_.visits;
    const std::size_t count = written_.size(), before = text_.size() - count;
    const bool adds = turns_.checker_adds;
    // Row i judges the token after it; the last row only says what comes next.
    const std::span<const TokenId> read(text_.data(), text_.size() - (adds || count == 0 ? 0 : 1));
    KINGLET_CHECK(checker_.read(read, adds || count == 0 ? count + 1 : count));
    for (std::size_t i = 0; i < count; ++i) {
      const TokenId token = text_[before + i];
      const auto objection = policy_.objection(checker_.row(i), token, written_[i]);
      judge(i, objection ? checker_.best(i) : token);
      if (!objection) continue;
      ++result_.rollbacks;
      result_.wasted += static_cast<std::int64_t>(count - i);
      result_.stood += static_cast<std::int64_t>(i);
      text_.resize(before + i);
      text_.push_back(checker_.best(i));
      result_.replacements.push_back({before + i - prompt_, token, text_.back(), *objection});
      KINGLET_CHECK(release());
      return turns_.checker_goes_on && result_.answer.finish_reason.empty() ? checker_step() : Result<void>();
    }
    result_.stood += static_cast<std::int64_t>(count);
    // A writer that hands over at once leaves the token to the checker, or nobody would ever write it.
    if ((adds || count == 0) && room() > 0 && (count == 0 || !ends(text_.back()))) {
      text_.push_back(checker_.best(count));
      judge(count, text_.back());
    }
    return release();
  }

  /// A token that stands in the text after row `row` of the checker.
  void judge(std::size_t row, TokenId token) {
    if (!options_.measures) return;
    const auto logits = checker_.row(row);
    nll_ += log_sum_exp(logits) - logits[static_cast<std::size_t>(token)];
    ++judged_;
  }

  /// What the checker has seen is certain: it goes out.
  Result<void> release() {
    Generation& answer = result_.answer;
    for (; seen_ < text_.size() && answer.finish_reason.empty(); ++seen_) {
      const TokenId id = text_[seen_];
      if (!has_first_) {
        has_first_ = true;
        first_ = Clock::now();
        answer.prefill_ms = std::chrono::duration<double, std::milli>(first_ - start_).count();
      }
      if (ends(id)) {
        answer.finish_reason = "stop";
        return {};
      }
      answer.token_ids.push_back(id);
      const std::string_view shown = stream_.append(tokenizer_.piece(id));
      if (!shown.empty() && options_.on_text && !options_.on_text(shown)) answer.finish_reason = "cancelled";
      if (stream_.stopped()) answer.finish_reason = "stop";
    }
    if (answer.finish_reason.empty() && room() <= 0) answer.finish_reason = "length";
    return {};
  }

  Follower& writer_;
  Follower& checker_;
  const Tokenizer& tokenizer_;
  const PairPolicy& policy_;
  const PairTurns turns_;
  const PairOptions& options_;
  std::vector<TokenId> text_;    ///< prompt, what is certain up to seen_, and the writer's tokens
  std::vector<double> written_;  ///< log-probability of each of the writer's tokens
  std::int64_t most_ = 0;        ///< tokens of the answer
  std::size_t prompt_, seen_;
  double nll_ = 0;
  std::int64_t judged_ = 0;
  TextStream stream_;
  Clock::time_point start_, first_;
  bool has_first_ = false;
  PairGeneration result_;
};

class EnginePair final : public ModelPair {
 public:
  EnginePair(Engine& writer, Engine& checker) : writer_(writer), checker_(checker) {}
  Result<PairGeneration> answer(std::span<const TokenId> prompt, const PairPolicy& policy,
                                const PairOptions& options) override {
    if (prompt.empty()) return fail(ErrorCode::kInvalidArgument, "the prompt is empty", "Give at least one character.");
    return PairSession(writer_, checker_, prompt, policy, options).run();
  }

 private:
  Follower writer_, checker_;
};

}  // namespace

Result<std::unique_ptr<ModelPair>> ModelPair::create(Engine& writer, Engine& checker) {
  if (writer.model().config().vocabulary != checker.model().config().vocabulary)
    return fail(ErrorCode::kInvalidArgument, "the two models have different vocabularies");
  return std::make_unique<EnginePair>(writer, checker);
}

Result<std::unique_ptr<PairPolicy>> make_pair_policy(std::string_view name, const PairSettings& settings) {
  std::string names;
  for (const PairPolicyDescriptor* policy : pair_policies()) {
    if (policy->name == name) return policy->make(settings);
    names += (names.empty() ? "" : ", ") + std::string(policy->name);
  }
  return fail(ErrorCode::kInvalidArgument, "there is no way for two models to answer named '" + std::string(name) + "'",
              "Known: " + names + ".");
}

}  // namespace kinglet
