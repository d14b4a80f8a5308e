#include "kinglet/pair.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "base/interrupt.h"
#include "base/try.h"
#include "decode/softmax.h"
#include "decode/text_stream.h"

namespace kinglet {
namespace {

using Clock = std::chrono::steady_clock;

/// A model whose cache lags behind the shared text and catches up in one pass.
class Follower {
 public:
  explicit Follower(Engine& engine)
      : engine_(engine), vocabulary_(static_cast<std::size_t>(engine.model().config().vocabulary)) {}

  /// Feeds what is missing of `text` and gives the logits after each of its last `count` tokens.
  Result<void> read(std::span<const TokenId> text, std::size_t count) {
    const auto differ = std::mismatch(fed_.begin(), fed_.end(), text.begin(), text.end());
    const auto kept = std::min<std::size_t>(static_cast<std::size_t>(differ.first - fed_.begin()), text.size() - count);
    if (sequence_ == nullptr) {
      KINGLET_TRY(sequence_, engine_.new_sequence());
    } else if (kept < fed_.size()) {
      KINGLET_CHECK(sequence_->truncate(static_cast<std::int64_t>(kept)));
    }
    fed_.resize(kept);
    rows_.clear();
    wanted_.clear();
    for (std::size_t i = kept; i < text.size(); ++i) {
      if (i >= text.size() - count) wanted_.push_back(static_cast<std::int32_t>(rows_.size()));
      rows_.push_back({.sequence = sequence_.get(), .position = static_cast<std::int32_t>(i)});
    }
    logits_.resize(std::max(logits_.size(), count * vocabulary_));
    KINGLET_CHECK(engine_.step(rows_, text.subspan(kept), wanted_, logits_.data()));
    fed_.assign(text.begin(), text.end());
    return {};
  }
  std::span<const float> row(std::size_t index) const {
    return std::span<const float>(logits_).subspan(index * vocabulary_, vocabulary_);
  }
  TokenId best(std::size_t index) const { return static_cast<TokenId>(std::min(argmax(row(index)), vocabulary_ - 1)); }

 private:
  Engine& engine_;
  std::size_t vocabulary_;
  std::unique_ptr<Sequence> sequence_;
  std::vector<TokenId> fed_;
  std::vector<Row> rows_;
  std::vector<std::int32_t> wanted_;
  std::vector<float> logits_;
};

class PairSession {
 public:
  PairSession(Engine& large, Engine& small, std::span<const TokenId> prompt, const PairPolicy& policy,
              const PairOptions& options)
      : large_(large),
        small_(small),
        tokenizer_(large.model().tokenizer()),
        policy_(policy),
        options_(options),
        text_(prompt.begin(), prompt.end()),
        prompt_(prompt.size()),
        seen_(prompt.size()) {
    const std::int64_t context = std::min(large.options().context, small.options().context);
    most_ = std::min(options.max_tokens, context - static_cast<std::int64_t>(prompt.size()));
  }

  Result<PairGeneration> run() {
    const auto start = Clock::now();
    KINGLET_CHECK(large_step());  // the large model reads the prompt and begins
    const auto first = Clock::now();
    result_.prefill_ms = std::chrono::duration<double, std::milli>(first - start).count();
    while (result_.finish_reason.empty()) {
      if (interrupted()) {
        result_.finish_reason = "cancelled";
        break;
      }
      KINGLET_CHECK(small_steps());
      KINGLET_CHECK(visit());
    }
    result_.decode_ms = std::chrono::duration<double, std::milli>(Clock::now() - first).count();
    const std::string_view rest = stream_.finish();
    if (!rest.empty() && options_.on_text && result_.finish_reason != "cancelled") options_.on_text(rest);
    result_.text = stream_.text();
    return std::move(result_);
  }

 private:
  std::int64_t room() const { return most_ - static_cast<std::int64_t>(text_.size() - prompt_); }
  bool ends(TokenId id) const { return tokenizer_.is_end(id) && !options_.ignore_eos; }

  /// One token of the large model at the end of the text; everything is then seen.
  Result<void> large_step() {
    if (room() <= 0) return release();
    ++result_.visits;
    KINGLET_CHECK(large_.read(text_, 1));
    text_.push_back(large_.best(0));
    return release();
  }

  Result<void> small_steps() {
    drafted_ = 0;
    while (drafted_ < static_cast<std::size_t>(options_.small_most) && room() > 0) {
      KINGLET_CHECK(small_.read(text_, 1));
      if (policy_.hands_over(small_.row(0))) break;
      text_.push_back(small_.best(0));
      ++drafted_;
      if (ends(text_.back())) break;
    }
    return {};
  }

  /// The large model reads the small one's tokens in one pass, undoes them from the first bad one, and adds its own.
  Result<void> visit() {
    ++result_.visits;
    KINGLET_CHECK(large_.read(text_, drafted_ + 1));
    const std::size_t before = text_.size() - drafted_;
    for (std::size_t i = 0; i < drafted_; ++i) {
      if (!policy_.undoes(large_.row(i), text_[before + i])) continue;
      ++result_.rollbacks;
      result_.wasted += static_cast<std::int64_t>(drafted_ - i);
      result_.small_tokens += static_cast<std::int64_t>(i);
      text_.resize(before + i);
      text_.push_back(large_.best(i));
      KINGLET_CHECK(release());
      return result_.finish_reason.empty() ? large_step() : Result<void>();  // the large model keeps control for a step
    }
    result_.small_tokens += static_cast<std::int64_t>(drafted_);
    if (room() > 0 && !ends(text_.back())) text_.push_back(large_.best(drafted_));
    return release();
  }

  /// What the large model has seen is certain: it goes out.
  Result<void> release() {
    for (; seen_ < text_.size() && result_.finish_reason.empty(); ++seen_) {
      const TokenId id = text_[seen_];
      if (ends(id)) {
        result_.finish_reason = "stop";
        return {};
      }
      result_.token_ids.push_back(id);
      const std::string_view shown = stream_.append(tokenizer_.piece(id));
      if (!shown.empty() && options_.on_text && !options_.on_text(shown)) result_.finish_reason = "cancelled";
    }
    if (result_.finish_reason.empty() && room() <= 0) result_.finish_reason = "length";
    return {};
  }

  Follower large_, small_;
  const Tokenizer& tokenizer_;
  const PairPolicy& policy_;
  const PairOptions& options_;
  std::vector<TokenId> text_;  ///< prompt, what is certain up to seen_, and the small model's tokens
  std::int64_t most_ = 0;      ///< tokens of the answer
  std::size_t prompt_, seen_, drafted_ = 0;
  TextStream stream_{std::vector<std::string>{}};
  PairGeneration result_;
};

}  // namespace

bool BigLittlePolicy::hands_over(std::span<const float> small_logits) const {
  const float max = maximum(small_logits);
  return !(1 / exp_sum(small_logits, max) >= fallback_);
}

bool BigLittlePolicy::undoes(std::span<const float> large_logits, TokenId token) const {
  if (argmax(large_logits) == static_cast<std::size_t>(token)) return false;
  if (strict_) return true;
  return !(log_sum_exp(large_logits) - large_logits[static_cast<std::size_t>(token)] <= rollback_);
}

Result<PairGeneration> generate_pair(Engine& large, Engine& small, std::span<const TokenId> prompt,
                                     const PairPolicy& policy, const PairOptions& options) {
  if (prompt.empty()) return fail(ErrorCode::kInvalidArgument, "the prompt is empty", "Give at least one character.");
  if (large.model().config().vocabulary != small.model().config().vocabulary)
    return fail(ErrorCode::kInvalidArgument, "the two models have different vocabularies");
  return PairSession(large, small, prompt, policy, options).run();
}

}  // namespace kinglet
