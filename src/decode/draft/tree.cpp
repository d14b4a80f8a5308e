// A second model drafts a tree for a target whose passes are dear, as where its weights are read from disk for each
// (LLMCad, Xu et al. 2023): branches share the memory of what they have in common, those that are behind their share of
// the confidence are extended, and the tree is verified when even its best branch has become doubtful.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>
#include <utility>
#include <vector>

#include "base/try.h"
#include "decode/draft_shared.h"
#include "decode/follower.h"
#include "decode/softmax.h"
#include "kinglet/draft.h"

namespace kinglet {
namespace {

class TreeDrafter final : public Drafter {
 public:
  explicit TreeDrafter(const DraftContext& context)
      : model_(context.model),
        engine_(model_->engine),
        shared_(context.shared ? context.shared : std::make_shared<DraftShared>()),
        follower_(*engine_),
        vocabulary_(static_cast<std::size_t>(engine_->model().config().vocabulary)) {}

  void propose(std::span<const TokenId> text, int budget, Draft& draft) override {
    if (failed_ || budget <= 0) return;
    adapt(text);
    nodes_.clear();
    branches_.clear();
    // A model that fails (its context is full, its memory ended) costs speed and never the answer.
    if (auto grown = grow(text, static_cast<std::size_t>(budget)); !grown) {
      failed_ = true;
      nodes_.clear();
    }
    branches_.clear();
    for (const Node& node : nodes_) draft.push(node.token, node.parent);
    begin_ = text.size();
  }

 private:
  struct Node {
    TokenId token;
    std::int32_t parent;
    double confidence;  ///< product of the model's probabilities from the text to here
    int depth;
  };
  /// A leaf that can be extended. `sequence` has everything before the leaf's token.
  struct Branch {
    std::int32_t leaf;
    std::unique_ptr<Sequence> sequence;
    bool trunk;  ///< the best token followed everywhere: what a chain would be
  };
  static constexpr std::size_t kMostBranches = 8, kSideBySide = 4;
  static constexpr double kLeastAlpha = 1e-4, kMostAlpha = 0.9;

  /// What the verification of the last tree says about when the next one shall be verified.
  void adapt(std::span<const TokenId> text) {
    if (nodes_.empty()) return;
    std::int32_t node = -1;
    int correct = 0;
    for (std::size_t i = begin_; i < text.size(); ++i) {
      std::int32_t next = -1;
      for (std::size_t child = 0; child < nodes_.size() && next < 0; ++child)
        if (nodes_[child].parent == node && nodes_[child].token == text[i]) next = static_cast<std::int32_t>(child);
      if (next < 0) break;
      node = next;
      ++correct;
    }
    record_.stood(expected_to_stand(), correct);
    // The longest branch through the last token that stood: children come after their parents.
    std::int32_t leaf = node;
    for (std::size_t i = 0; i < nodes_.size(); ++i)
      if (nodes_[i].parent == leaf) leaf = static_cast<std::int32_t>(i), i = static_cast<std::size_t>(leaf);
    if (leaf < 0) return;
    const auto& end = nodes_[static_cast<std::size_t>(leaf)];
    if (correct == end.depth) {
      alpha_ *= 0.5;
    } else {
      alpha_ /= std::pow(end.confidence, static_cast<double>(end.depth - correct) / end.depth);
    }
    alpha_ = std::clamp(alpha_, kLeastAlpha, kMostAlpha);
  }

  Result<void> grow(std::span<const TokenId> text, std::size_t budget) {
    KINGLET_CHECK(follower_.read(text, 1));
    KINGLET_TRY(auto root, follower_.sequence()->fork());
    branch_out({.leaf = -1, .sequence = std::move(root), .trunk = true}, follower_.row(0), budget);
    for (int passes = 1; nodes_.size() < budget && !branches_.empty(); ++passes) {
      if (model_->tree_passes > 0 ? passes >= model_->tree_passes : is_ripe(passes)) break;
      const auto start = Clock::now();
      KINGLET_CHECK(extend(text.size(), budget));
      record_.took(std::chrono::duration<double>(Clock::now() - start).count());
    }
    return {};
  }

  /// Whether the tree is verified now: where both models' passes have been measured, as soon as one more pass of this
  /// one would lower the tokens per time; before that by the confidence of the best branch, as in the paper.
  bool is_ripe(int passes) const {
    const PassCosts& costs = shared_->costs;
    if (record_.seconds == 0 || costs.level() == 0) return most_confident() < alpha_;
    const double step = record_.seconds / costs.level(), expected = 1 + expected_to_stand();
    const double more = expected + std::pow(most_confident() * record_.sureness, record_.doubt);
    return costs.value(nodes_.size() + 1, more, step * (passes + 1)) <=
           costs.value(nodes_.size(), expected, step * passes);
  }
  /// How many tokens of the tree stand: at each depth the most confident one.
  double expected_to_stand() const {
    std::vector<double> best;
    for (const Node& node : nodes_) {
      best.resize(std::max(best.size(), static_cast<std::size_t>(node.depth)));
      double& here = best[static_cast<std::size_t>(node.depth) - 1];
      here = std::max(here, node.confidence);
    }
    double sum = 0;
    for (const double confidence : best) sum += std::pow(confidence, record_.doubt);
    return sum;
  }

  double most_confident() const {
    double most = 0;
    for (const Branch& branch : branches_) most = std::max(most, confidence(branch));
    return most;
  }
  double confidence(const Branch& branch) const {
    return branch.leaf < 0 ? 1 : nodes_[static_cast<std::size_t>(branch.leaf)].confidence;
  }

  /// One pass of the model over the leaves that are furthest behind their share of the tokens.
  Result<void> extend(std::size_t length, std::size_t budget) {
    double total = 0;
    for (const Branch& branch : branches_) total += confidence(branch);
    std::vector<std::pair<double, std::size_t>> deficits;
    for (std::size_t i = 0; i < branches_.size(); ++i) {
      const double share = static_cast<double>(nodes_.size()) * confidence(branches_[i]) / total;
      deficits.emplace_back(nodes_[static_cast<std::size_t>(branches_[i].leaf)].depth - share, i);
    }
    std::sort(deficits.begin(), deficits.end());
    // The trunk is always among them: a tree is a chain and more, and side by side the others cost it nothing.
    std::size_t best = 0;
    for (std::size_t i = 0; i < branches_.size(); ++i)
      if (branches_[i].trunk) best = i;
    std::vector<std::size_t> chosen = {best};
    for (const auto& [deficit, index] : deficits)
      if (index != best && deficit < 0 && chosen.size() < std::min(kSideBySide, budget - nodes_.size()))
        chosen.push_back(index);
    std::vector<Row> rows;
    std::vector<TokenId> ids;
    std::vector<std::int32_t> wanted;
    for (const std::size_t index : chosen) {
      const Node& leaf = nodes_[static_cast<std::size_t>(branches_[index].leaf)];
      wanted.push_back(static_cast<std::int32_t>(rows.size()));
      rows.push_back({.sequence = branches_[index].sequence.get(),
                      .position = static_cast<std::int32_t>(length) + leaf.depth - 1});
      ids.push_back(leaf.token);
    }
    logits_.resize(rows.size() * vocabulary_);
    KINGLET_CHECK(engine_->step(rows, ids, wanted, logits_.data()));
    std::vector<Branch> extended;
    for (const std::size_t index : chosen) extended.push_back(std::move(branches_[index]));
    std::erase_if(branches_, [](const Branch& branch) { return branch.sequence == nullptr; });
    for (std::size_t i = 0; i < extended.size(); ++i)
      branch_out(std::move(extended[i]), std::span<const float>(logits_).subspan(i * vocabulary_, vocabulary_), budget);
    return {};
  }

  /// Adds the best token after the branch's leaf, and every other that is likely enough to begin a branch of its own.
  void branch_out(Branch branch, std::span<const float> logits, std::size_t budget) {
    const std::size_t best = std::min(argmax(logits), logits.size() - 1);
    const float max = logits[best];
    const double total = exp_sum(logits, max);
    const auto confidence_before = confidence(branch);
    const int depth = branch.leaf < 0 ? 1 : nodes_[static_cast<std::size_t>(branch.leaf)].depth + 1;
    const std::int32_t parent = branch.leaf;
    const auto add = [&](std::size_t token, std::unique_ptr<Sequence> sequence, bool trunk) {
      const double probability = exp_nonpositive(logits[token] - max) / total;
      if (trunk) record_.sureness += 0.02 * (probability - record_.sureness);
      nodes_.push_back({static_cast<TokenId>(token), parent, confidence_before * probability, depth});
      branches_.push_back({static_cast<std::int32_t>(nodes_.size()) - 1, std::move(sequence), trunk});
    };
    if (nodes_.size() >= budget) return;
    const float bound = max + static_cast<float>(std::log(total * model_->branch_probability));
    std::vector<std::size_t> others;
    for (std::size_t id = 0; id < logits.size(); ++id)
      if (id != best && logits[id] > bound) others.push_back(id);
    std::vector<std::pair<std::size_t, std::unique_ptr<Sequence>>> forks;
    for (const std::size_t id : others) {
      if (nodes_.size() + forks.size() + 1 >= budget || branches_.size() + forks.size() + 1 >= kMostBranches) break;
      auto fork = branch.sequence->fork();
      if (fork) forks.emplace_back(id, std::move(*fork));
    }
    add(best, std::move(branch.sequence), branch.trunk);
    for (auto& [id, sequence] : forks) add(id, std::move(sequence), false);
  }

  std::shared_ptr<DraftModel> model_;
  using Clock = std::chrono::steady_clock;

  std::shared_ptr<Engine> engine_;
  std::shared_ptr<DraftShared> shared_;
  TreeRecord& record_ = shared_->trees;
  Follower follower_;
  std::size_t vocabulary_;
  std::vector<Node> nodes_;
  std::vector<Branch> branches_;
  std::vector<float> logits_;
  std::size_t begin_ = 0;  ///< tokens of the text when the last tree was made
  double alpha_ = 0.01;    ///< confidence of the best branch below which a tree is verified
  bool failed_ = false;
};

Result<std::unique_ptr<Drafter>> make(const DraftContext& context) {
  if (!context.model || !context.model->engine)
    return fail(ErrorCode::kInvalidArgument, "a drafting model is not given",
                "Give its name or file: --drafter tree,MODEL.");
  if (!context.model->same_vocabulary)
    return fail(ErrorCode::kUnsupported, "a model of another vocabulary cannot draft trees",
                "--drafter MODEL drafts by way of text.");
  return std::make_unique<TreeDrafter>(context);
}

}  // namespace

extern const DrafterDescriptor drafter_tree{
    "tree", "032", "trees by a second model, for targets whose passes are dear: --drafter tree,MODEL", make};

}  // namespace kinglet
