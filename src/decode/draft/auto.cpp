// The controller: takes the draft that is worth most by what was measured, or none.
//
// The n-gram tree is free and says what it expects. Drafts that cost time of their own (the model's first layers, a
// second model) are judged by their record; what is spent on seeing whether they pay is kept below a small share of all
// passes, so that turning speculation on never costs much.
#include <algorithm>

#include "base/try.h"
#include "decode/draft_shared.h"
#include "decode/draft_sources.h"

namespace kinglet {
namespace {

class AutoDrafter final : public Drafter {
 public:
  AutoDrafter(std::unique_ptr<Drafter> ngram, const DraftContext& context)
      : ngram_(std::move(ngram)),
        context_(context),
        shared_(context.shared ? context.shared : std::make_shared<DraftShared>()) {
    context_.shared = shared_;
    if (context.target == nullptr) return;
    if (context.model && context.model->engine && context.model->same_vocabulary)
      chains_.push_back({.name = "model", .make = make_model_source, .drafter = nullptr});
    chains_.push_back({.name = "layers", .make = make_layers_source, .drafter = nullptr});
  }

  void propose(std::span<const TokenId> text, int budget, Draft& draft) override {
    used_ = nullptr;
    ++shared_->passes;
    ngram_->propose(text, budget, draft);
    Chain* best = nullptr;
    double value = std::max(draft.value, kLeastValue);
    for (Chain& chain : chains_)
      if (const double own = record(chain).value(); own > value) value = own, best = &chain;
    explores_ = false;
    if (best == nullptr && draft.size() == 0) {
      best = to_explore(text);
      explores_ = best != nullptr;
    }
    if (best == nullptr || !open(*best)) return;
    draft.clear();
    best->drafter->propose(text, explores_ ? std::min(budget, kExploredTokens) : budget, draft);
    drafted_ = draft.size();
    used_ = best;
    if (drafted_ == 0) count(0);
  }

  void observe(int accepted) override {
    if (used_ == nullptr) return ngram_->observe(accepted);
    used_->drafter->observe(accepted);
    count(accepted);
  }

 private:
  struct Chain {
    const char* name;
    Result<std::unique_ptr<ChainSource>> (*make)(const DraftContext&);
    std::unique_ptr<ChainDrafter> drafter;
    bool failed = false;
  };
  static constexpr double kLeastValue = 1.02;
  /// Of all passes, the share that may go into trying drafts that have not paid so far.
  static constexpr double kExploration = 0.01;
  static constexpr int kExploredTokens = 2;
  /// What making a source may take: a trimmed head is read and packed.
  static constexpr double kOpenSeconds = 0.04;
  static constexpr double kFirstCost = 1.5;  ///< guessed passes of a first try

  DraftRecord& record(const Chain& chain) { return shared_->records[chain.name]; }

  /// A chain whose worth is not known, or was bad long enough ago, and that the budget has room for.
  Chain* to_explore(std::span<const TokenId> text) {
    const double level = shared_->costs.level();
    if (level <= 0) return nullptr;
    for (Chain& chain : chains_) {
      const DraftRecord& known = record(chain);
      if (chain.failed || shared_->passes < known.next_try) continue;
      double cost = kFirstCost;
      if (!chain.drafter) cost += kOpenSeconds / level;
      if (chain.drafter)
        cost += 0.1 * static_cast<double>(chain.drafter->source().behind(text));
      else if (chain.make == make_model_source)
        cost += 0.1 * static_cast<double>(text.size());
      if (shared_->explored + cost <= kExploration * shared_->passes) return &chain;
    }
    return nullptr;
  }

  bool open(Chain& chain) {
    if (chain.failed || chain.drafter) return !chain.failed;
    auto source = chain.make(context_);
    chain.failed = !source;
    if (!source) return false;
    chain.drafter = std::make_unique<ChainDrafter>(std::move(*source), context_);
    chain.drafter->weigh_costs();
    if (explores_ && shared_->costs.level() > 0) shared_->explored += kOpenSeconds / shared_->costs.level();
    return true;
  }

  void count(int accepted) {
    const double cost = shared_->costs.relative(drafted_ + 1) + used_->drafter->spent();
    DraftRecord& known = record(*used_);
    known.add(1 + accepted, cost);
    if (explores_) shared_->explored += std::max(0.0, cost - 1 - accepted);
    if (known.value() <= kLeastValue) known.next_try = shared_->passes + (32 << std::min(known.tries++, 8));
  }

  std::unique_ptr<Drafter> ngram_;
  DraftContext context_;
  std::shared_ptr<DraftShared> shared_;
  std::vector<Chain> chains_;
  Chain* used_ = nullptr;
  std::size_t drafted_ = 0;
  bool explores_ = false;
};

Result<std::unique_ptr<Drafter>> make(const DraftContext& context) {
  KINGLET_TRY(auto ngram, make_drafter("ngram", context));
  return std::make_unique<AutoDrafter>(std::move(ngram), context);
}

}  // namespace

extern const DrafterDescriptor drafter_auto{
    "auto", "", "measures, and takes the draft that is worth most: ngram, layers, a second model, or none", make};

}  // namespace kinglet
