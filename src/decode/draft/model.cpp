// A second model drafts for a larger one of the same vocabulary (Leviathan et al. 2023); of another vocabulary by way
// of text: what it writes is cut into the target's tokens.
#include <algorithm>

#include "base/try.h"
#include "decode/draft_shared.h"
#include "decode/draft_sources.h"
#include "decode/follower.h"
#include "decode/sampler_chain.h"
#include "decode/softmax.h"
#include "decode/trimmed_head.h"

namespace kinglet {
namespace {

class ModelSource final : public ChainSource {
 public:
  ModelSource(std::shared_ptr<Engine> engine, std::shared_ptr<TrimmedHead> head)
      : engine_(std::move(engine)), follower_(*engine_), head_(std::move(head)) {}
  Result<void> begin(std::span<const TokenId> text) override { return follower_.read(text.first(text.size() - 1)); }
  Result<std::span<float>> next(TokenId token) override {
    KINGLET_TRY(float* hidden, follower_.hidden_after(token));
    if (head_) return head_->logits(*engine_, hidden);
    logits_.resize(follower_.vocabulary());
    KINGLET_CHECK(engine_->head(hidden, 1, {}, logits_.data()));
    return std::span<float>(logits_);
  }
  Result<void> end() override { return {}; }  // what stands need not be fed again
  std::span<const TokenId> ids() const override { return head_ ? head_->ids() : std::span<const TokenId>(); }
  std::size_t behind(std::span<const TokenId> text) const override { return text.size() - 1 - follower_.common(text); }

 private:
  std::shared_ptr<Engine> engine_;
  Follower follower_;
  std::shared_ptr<TrimmedHead> head_;
  std::vector<float> logits_;
};

/// The second model writes on in its own tokens. Its text so far is the target's; both texts are compared by bytes.
class TextDrafter final : public Drafter {
 public:
  TextDrafter(const DraftContext& context)
      : target_(context.target->model().tokenizer()),
        own_(context.model->engine->model().tokenizer()),
        engine_(context.model->engine),
        follower_(*engine_),
        least_probability_(context.least_probability) {}

  void propose(std::span<const TokenId> text, int budget, Draft& draft) override {
    if (failed_) return;
    if (auto done = write(text, budget, draft); !done) {
      failed_ = true;
      draft.clear();
    }
  }

 private:
  static constexpr int kMostTokens = 6;

  Result<void> write(std::span<const TokenId> text, int budget, Draft& draft) {
    align(target_.decode(text, true));
    if (ids_.empty()) return {};
    KINGLET_CHECK(follower_.read(std::span<const TokenId>(ids_).first(ids_.size() - 1)));
    std::string written;
    TokenId last = ids_.back();
    std::vector<float> logits(follower_.vocabulary());
    for (int i = 0; i < std::min(budget, kMostTokens); ++i) {
      KINGLET_TRY(float* hidden, follower_.hidden_after(last));
      KINGLET_CHECK(engine_->head(hidden, 1, {}, logits.data()));
      KINGLET_TRY(last, SamplerChain::pick_best(logits));
      if (own_.is_control(last)) break;
      written += own_.piece(last);
      if (1 / exp_sum(logits, logits[static_cast<std::size_t>(last)]) < least_probability_) break;
    }
    const auto tokens = target_.encode(written);
    for (std::size_t i = 0; i < std::min(tokens.size(), static_cast<std::size_t>(budget)); ++i)
      draft.push(tokens[i], static_cast<std::int32_t>(i) - 1);
    return {};
  }

  /// Own tokens of `text`: those that still fit stay, so that little is fed again.
  void align(const std::string& text) {
    std::size_t kept = 0, bytes = 0;
    while (kept < ids_.size() && ends_[kept] <= text.size() &&
           text.compare(bytes, ends_[kept] - bytes, text_, bytes, ends_[kept] - bytes) == 0)
      bytes = ends_[kept++];
    ids_.resize(kept);
    ends_.resize(kept);
    text_ = text;
    if (kept == 0 && own_.adds_bos && own_.bos >= 0) ids_.push_back(own_.bos), ends_.push_back(0);
    for (const TokenId id : own_.encode(std::string_view(text).substr(bytes), {.parse_special = true})) {
      bytes += own_.is_control(id) ? own_.text(id).size() : own_.piece(id).size();
      ids_.push_back(id);
      ends_.push_back(bytes);
    }
  }

  const Tokenizer& target_;
  const Tokenizer& own_;
  std::shared_ptr<Engine> engine_;
  Follower follower_;
  double least_probability_;
  std::string text_;
  std::vector<TokenId> ids_;       ///< own tokens of text_
  std::vector<std::size_t> ends_;  ///< bytes of text_ up to the end of each
  bool failed_ = false;
};

Result<std::unique_ptr<Drafter>> make(const DraftContext& context) {
  if (!context.model || !context.model->engine)
    return fail(ErrorCode::kInvalidArgument, "a drafting model is not given",
                "Give its name or file: --drafter MODEL.");
  if (!context.model->same_vocabulary) return std::make_unique<TextDrafter>(context);
  KINGLET_TRY(auto source, make_model_source(context));
  return std::make_unique<ChainDrafter>(std::move(source), context);
}

}  // namespace

Result<std::unique_ptr<ChainSource>> make_model_source(const DraftContext& context) {
  const DraftModel& model = *context.model;
  std::shared_ptr<TrimmedHead> head = context.shared ? context.shared->model_head : nullptr;
  if (head == nullptr && !model.kept.empty()) {
    KINGLET_TRY(head, TrimmedHead::create(*model.engine, model.kept));
    if (context.shared) context.shared->model_head = head;
  }
  return std::make_unique<ModelSource>(model.engine, std::move(head));
}

extern const DrafterDescriptor drafter_model{
    "model", "093", "a second model: --drafter with its name or file; of another vocabulary by way of text", make};

}  // namespace kinglet
