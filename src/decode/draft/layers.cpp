// Self-speculation by early exit: the target's first layers, its own final norm and head draft; the whole verifies
// (Kangaroo, Liu et al. 2024, without its adapter; Sorted LLaMA, Kavehzadeh et al. 2023, inference mode b). Keys and
// values of the first layers are shared with the target. The head is trimmed (VocabTrim, Goel et al. 2025).
#include <algorithm>

#include "base/try.h"
#include "decode/draft_shared.h"
#include "decode/draft_sources.h"
#include "decode/trimmed_head.h"

namespace kinglet {
namespace {

class LayersSource final : public ChainSource {
 public:
  LayersSource(Engine& target, Sequence& sequence, int exit, std::shared_ptr<TrimmedHead> head)
      : target_(target),
        sequence_(sequence),
        exit_(exit),
        head_(std::move(head)),
        hidden_(static_cast<std::size_t>(target.model().config().width)) {}

  Result<void> begin(std::span<const TokenId> text) override {
    base_ = sequence_.length();
    position_ = static_cast<std::int32_t>(text.size()) - 1;
    if (base_ != position_)
      return fail(ErrorCode::kUnsupported, "the cache does not keep every position: its first layers cannot draft");
    return {};
  }
  Result<std::span<float>> next(TokenId token) override {
    const Row row{.sequence = &sequence_, .position = position_++};
    KINGLET_CHECK(target_.embed({&token, 1}, {&row.position, 1}, hidden_.data()));
    KINGLET_CHECK(target_.forward({.rows = {&row, 1}, .hidden = hidden_.data(), .layer_end = exit_}));
    return head_->logits(target_, hidden_.data());
  }
  Result<void> end() override { return sequence_.truncate(base_); }
  std::span<const TokenId> ids() const override { return head_->ids(); }

 private:
  Engine& target_;
  Sequence& sequence_;
  int exit_;
  std::shared_ptr<TrimmedHead> head_;
  std::vector<float> hidden_;
  std::int64_t base_ = 0;
  std::int32_t position_ = 0;
};

Result<std::unique_ptr<Drafter>> make(const DraftContext& context) {
  KINGLET_TRY(auto source, make_layers_source(context));
  return std::make_unique<ChainDrafter>(std::move(source), context);
}

/// Merges of a tokenizer are numbered by their frequency, so that low ids are the common tokens.
std::vector<TokenId> first_ids(const Model& model) {
  const auto vocabulary = static_cast<std::size_t>(model.config().vocabulary);
  std::vector<std::uint64_t> occurrences(vocabulary);
  for (std::size_t id = 0; id < vocabulary; ++id) occurrences[id] = vocabulary - id;
  return most_frequent(occurrences, vocabulary / 6, model.tokenizer());
}

}  // namespace

Result<std::unique_ptr<ChainSource>> make_layers_source(const DraftContext& context) {
  const Model& model = context.target->model();
  const auto layers = static_cast<int>(model.config().layers);
  int exit = context.model ? context.model->exit_layer : 0;
  if (exit == 0) exit = std::max(1, layers * 2 / 3);
  if (exit < 1 || exit >= layers)
    return fail(
        ErrorCode::kInvalidArgument,
        "drafting by the first " + std::to_string(exit) + " layers of a model of " + std::to_string(layers) + " layers",
        "Give 1 to " + std::to_string(layers - 1) + ".");
  std::shared_ptr<TrimmedHead> head = context.shared ? context.shared->head : nullptr;
  if (head == nullptr) {
    std::vector<TokenId> kept = context.model ? context.model->kept : std::vector<TokenId>();
    if (kept.empty()) kept = first_ids(model);
    KINGLET_TRY(head, TrimmedHead::create(*context.target, std::move(kept)));
    if (context.shared) context.shared->head = head;
  }
  return std::make_unique<LayersSource>(*context.target, *context.sequence, exit, std::move(head));
}

extern const DrafterDescriptor drafter_layers{
    "layers", "088", "the model's own first layers, with a head trimmed to common tokens (layers:N: how many)", make};

}  // namespace kinglet
