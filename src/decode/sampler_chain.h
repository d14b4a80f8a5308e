// All processors of one sequence, in order, and the draw at the end.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "decode/random.h"
#include "kinglet/sampling.h"

namespace kinglet {

class SamplerChain {
 public:
  /// `further` run before the samplers (a grammar forbids tokens before anything is shaped).
  static Result<SamplerChain> make(const SamplerValues& values, std::uint64_t seed,
                                   std::vector<std::shared_ptr<LogitsProcessor>> further = {});

  bool greedy() const { return greedy_; }
  /// Nothing but the largest logit counts: pick_best() does.
  bool plain() const { return greedy_ && processors_.empty(); }

  /// What all processors allow, ascending; nothing: everything. Valid until the next call.
  std::optional<std::span<const TokenId>> allowed();
  /// Applies the processors and draws one token with one random number (greedy: none).
  /// Where no token can be drawn, the failure() of a processor; kCorrupt where none has one: NaN logits, or everything
  /// forbidden.
  Result<TokenId> pick(Candidates& candidates);
  /// As pick(), where `proposal` was drawn from `drafted`: takes it with probability min(1, p/q), otherwise draws from
  /// max(p - q, 0). The result has the distribution of pick() (Leviathan et al. 2023, theorem 3.5), the proposal
  /// stands as often as can be. Two random numbers.
  Result<TokenId> pick_drafted(Candidates& candidates, TokenId proposal,
                               std::span<const std::pair<TokenId, float>> drafted);
  static Result<TokenId> pick_best(std::span<const float> row);

  /// At most `most` tokens that a processor knows to follow; empties `out` first.
  void foresee(std::size_t most, std::vector<TokenId>& out);
  void accept(TokenId id);
  void rollback(std::int64_t count);

 private:
  tl::unexpected<Error> nothing_left() const;
  bool greedy_ = true;
  std::vector<std::shared_ptr<LogitsProcessor>> processors_;
  std::vector<TokenId> allowed_, scratch_;
  std::vector<double> weights_;
  std::vector<float> drafted_;  ///< by token; zeros between calls
  Random random_{0};
};

}  // namespace kinglet
