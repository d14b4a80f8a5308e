// Drafters that ask a cheap model for one token after another.
#pragma once

#include <array>
#include <memory>
#include <span>
#include <vector>

#include "decode/pass_costs.h"
#include "decode/random.h"
#include "kinglet/draft.h"

namespace kinglet {

/// A cheap stand-in for the target: logits along one chain of tokens.
class ChainSource {
 public:
  virtual ~ChainSource() = default;
  /// Gets ready to continue `text`: all of it but the last token is fed. Until end(), next() is called for the last
  /// token and for each drafted one.
  virtual Result<void> begin(std::span<const TokenId> text) = 0;
  /// Logits after one more token, one for each of ids(); they may be changed.
  virtual Result<std::span<float>> next(TokenId token) = 0;
  /// Forgets what next() fed.
  virtual Result<void> end() = 0;
  /// The tokens that it can propose, ascending; empty: the whole vocabulary.
  virtual std::span<const TokenId> ids() const { return {}; }
  /// Tokens of `text` that begin() would have to feed.
  virtual std::size_t behind(std::span<const TokenId> /*text*/) const { return 0; }
};

/// How often proposals stood, by the drafting model's own probability of them: models that are sure are not always
/// right, and a trimmed vocabulary makes them surer.
class Confidence {
 public:
  Confidence();
  double rate(double probability) const { return rates_[bucket(probability)]; }
  void count(double probability, bool stood);

 private:
  static constexpr std::size_t kBuckets = 8;
  static std::size_t bucket(double probability);
  std::array<double, kBuckets> rates_;
};

/// Proposes a chain; stops as soon as the source is unsure (double early exit: Liu et al. 2024, Kangaroo).
class ChainDrafter final : public Drafter {
 public:
  ChainDrafter(std::unique_ptr<ChainSource> source, const DraftContext& context);

  void propose(std::span<const TokenId> text, int budget, Draft& draft) override;
  void observe(int accepted) override;

  /// Proposals end where one more token would cost more than it is expected to bring, by measured times.
  void weigh_costs() { weighs_ = true; }
  /// What the last proposal took, in passes of the target with one row.
  double spent() const { return spent_; }
  const ChainSource& source() const { return *source_; }

 private:
  Result<void> extend(std::span<const TokenId> text, int budget, Draft& draft);
  std::pair<TokenId, double> choose(std::span<float> logits, Draft& draft);
  bool goes_on(double probability, const Draft& draft);

  static constexpr int kMostTokens = 8;
  /// Tokens that a drawn proposal is drawn from: the most likely ones.
  static constexpr std::size_t kDrawn = 64;

  std::unique_ptr<ChainSource> source_;
  std::shared_ptr<PassCosts> costs_;
  double temperature_ = 0, least_probability_;
  bool draws_ = false, weighs_ = false, failed_ = false;
  Random random_;
  Confidence confidence_;
  std::vector<double> probabilities_;  ///< of the last proposal's tokens
  std::vector<std::pair<float, TokenId>> best_;
  double spent_ = 0, step_ = 0;  ///< step_: one token of the source, in passes of the target; 0: not known
  double expected_ = 1, reached_ = 1;
};

}  // namespace kinglet
