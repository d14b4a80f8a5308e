// Prompt lookup: what followed the last tokens where they stood before may follow again (Saxena 2023). Free to propose
// and strong on text that repeats itself: code, tables, summaries, quotations.
//
// The proposal is a tree that grows where it is most likely to stand, and as far as that pays: how often a continuation
// came true is counted by the length of its match and its rank, and what further rows cost is measured (PassCosts).
#include <algorithm>
#include <array>
#include <memory>
#include <queue>

#include "decode/continuation_index.h"
#include "decode/pass_costs.h"
#include "kinglet/draft.h"

namespace kinglet {
namespace {

/// How often continuations stood, by match length and rank, over the recent past.
class HitRates {
 public:
  HitRates() {
    // Pooled over answers to code, prose and editing prompts: where counting starts.
    constexpr float kFirst[kLengths] = {.27f, .42f, .62f, .72f, .76f, .87f, .92f, .98f};
    constexpr float kLater[ContinuationIndex::kKept] = {0, .09f, .04f};
    for (int length = 0; length < kLengths; ++length)
      for (int rank = 0; rank < ContinuationIndex::kKept; ++rank)
        rates_[std::size_t(length)][std::size_t(rank)] = rank == 0 ? kFirst[length] : kLater[rank];
  }
  float rate(int length, int rank) const { return rates_[bucket(length)][std::size_t(rank)]; }
  void count(int length, int rank, bool stood) {
    float& rate = rates_[bucket(length)][std::size_t(rank)];
    rate += kStep * ((stood ? 1.f : 0.f) - rate);
  }

 private:
  static constexpr int kLengths = 8;
  static constexpr float kStep = 0.05f;
  static std::size_t bucket(int length) {
    return length <= 4 ? std::size_t(length - 1) : length <= 6 ? 4 : length <= 10 ? 5 : length <= 20 ? 6 : 7;
  }
  std::array<std::array<float, ContinuationIndex::kKept>, kLengths> rates_;
};

class NgramDrafter final : public Drafter {
 public:
  explicit NgramDrafter(std::shared_ptr<PassCosts> costs) : costs_(std::move(costs)) {}

  void propose(std::span<const TokenId> text, int budget, Draft& draft) override {
    read(text);
    leaves_.clear();
    draft_ = &draft;
    expand(-1, 1);
    double tokens = 1, best = kLeastValue;
    std::size_t kept = 0;
    while (!leaves_.empty() && draft.size() < static_cast<std::size_t>(budget)) {
      std::pop_heap(leaves_.begin(), leaves_.end());
      const Leaf leaf = leaves_.back();
      leaves_.pop_back();
      draft.push(leaf.token, leaf.parent);
      tokens += leaf.probability;
      if (const double value = costs_->value(draft.size(), tokens); value > best) {
        best = value;
        kept = draft.size();
      } else if (draft.size() > kept + kLookAhead) {
        break;
      }
      expand(static_cast<std::int32_t>(draft.size()) - 1, leaf.probability);
    }
    draft.tokens.resize(kept);  // nodes stand in the order of their probability: any first part is a tree
    draft.parents.resize(kept);
    draft.value = kept > 0 ? best : 1;
  }

 private:
  struct Leaf {
    double probability;
    std::uint32_t order;
    TokenId token;
    std::int32_t parent;
    bool operator<(const Leaf& other) const {
      return probability != other.probability ? probability < other.probability : order > other.order;
    }
  };
  /// A proposal that promises less gain is not made: estimates err by about this much.
  static constexpr double kLeastValue = 1.02;
  /// How many more nodes are tried after the best size so far.
  static constexpr std::size_t kLookAhead = 8;

  /// Takes in the text's new tokens; of those of an answer it counts which continuations stood.
  void read(std::span<const TokenId> text) {
    if (text.size() < index_.text().size()) index_.clear(), read_any_ = false;
    for (std::size_t i = index_.text().size(); i < text.size(); ++i) {
      if (read_any_) {
        const int found = index_.find(text.first(i), candidates_);
        for (int rank = 0; rank < found; ++rank)
          rates_.count(candidates_[std::size_t(rank)].length, rank, candidates_[std::size_t(rank)].token == text[i]);
      }
      index_.push(text[i]);
    }
    read_any_ = true;
  }

  /// The continuations of a node of the tree (-1: of the text) become leaves.
  void expand(std::int32_t node, double probability) {
    const auto text = index_.text();
    std::array<TokenId, ContinuationIndex::kCompared> path;
    std::size_t at = path.size();
    for (std::int32_t up = node; up >= 0 && at > 0; up = draft_->parents[std::size_t(up)])
      path[--at] = draft_->tokens[std::size_t(up)];
    for (std::size_t i = text.size(); i > 0 && at > 0; --i) path[--at] = text[i - 1];
    const int found = index_.find(std::span<const TokenId>(path).subspan(at), candidates_);
    for (int rank = 0; rank < found; ++rank) {
      const auto& candidate = candidates_[std::size_t(rank)];
      leaves_.push_back({probability * rates_.rate(candidate.length, rank), order_++, candidate.token, node});
      std::push_heap(leaves_.begin(), leaves_.end());
    }
  }

  std::shared_ptr<PassCosts> costs_;
  ContinuationIndex index_;
  ContinuationIndex::Candidates candidates_;
  HitRates rates_;
  std::vector<Leaf> leaves_;  ///< a heap
  Draft* draft_ = nullptr;
  std::uint32_t order_ = 0;
  bool read_any_ = false;
};

Result<std::unique_ptr<Drafter>> make(const DraftContext& context) {
  return std::make_unique<NgramDrafter>(context.costs());
}

}  // namespace

extern const DrafterDescriptor drafter_ngram{"ngram", "",
                                             "what followed the last tokens where they stood before in the text", make};

}  // namespace kinglet
