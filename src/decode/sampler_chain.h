// All processors of one sequence, in order, and the draw at the end.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
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
  /// kCorrupt where no token can be drawn: NaN logits, or everything forbidden.
  Result<TokenId> pick(Candidates& candidates);
  static Result<TokenId> pick_best(std::span<const float> row);

  /// At most `most` tokens that a processor knows to follow; empties `out` first.
  void foresee(std::size_t most, std::vector<TokenId>& out);
  void accept(TokenId id);
  void rollback(std::int64_t count);

 private:
  bool greedy_ = true;
  std::vector<std::shared_ptr<LogitsProcessor>> processors_;
  std::vector<TokenId> allowed_, scratch_;
  Random random_{0};
};

}  // namespace kinglet
