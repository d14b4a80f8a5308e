// Two models answer together: a small one writes, a large one looks after it (BiLD, Kim et al. 2023). Lossy: the answer
// is between the two models' answers, by the thresholds; with `strict` it is the large model's own.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kinglet/engine.h"

namespace kinglet {

/// When the small model hands over, and what the large one undoes.
class PairPolicy {
 public:
  virtual ~PairPolicy() = default;
  /// After a step of the small model: its logits [vocabulary]. True: its token is thrown away, the large model steps
  /// in.
  virtual bool hands_over(std::span<const float> small_logits) const = 0;
  /// Whether the large model, with these logits before it, undoes the small model's token (and all after it).
  virtual bool undoes(std::span<const float> large_logits, TokenId token) const = 0;
};

/// Fallback where the small model's best token has a probability below `fallback`; rollback from the first token whose
/// -log p under the large model (no temperature) is above `rollback` and that is not the large model's own choice.
class BigLittlePolicy final : public PairPolicy {
 public:
  BigLittlePolicy(double fallback, double rollback, bool strict)
      : fallback_(fallback), rollback_(rollback), strict_(strict) {}
  bool hands_over(std::span<const float> small_logits) const override;
  bool undoes(std::span<const float> large_logits, TokenId token) const override;

 private:
  double fallback_, rollback_;
  bool strict_;
};

struct PairOptions {
  std::int64_t max_tokens = 512;
  bool ignore_eos = false;
  int small_most = 10;  ///< tokens of the small model between two visits of the large one
  /// Whole characters of what the large model has seen and left standing. False stops.
  std::function<bool(std::string_view)> on_text;
};

struct PairGeneration {
  std::vector<TokenId> token_ids;             ///< without the end token
  std::string text, finish_reason;            ///< "stop", "length", "cancelled"
  std::int64_t visits = 0, rollbacks = 0;     ///< passes of the large model; of them, those that undid something
  std::int64_t small_tokens = 0, wasted = 0;  ///< tokens of the small model that stood; that were undone
  double prefill_ms = 0, decode_ms = 0;
};

/// Greedy. The models must have one vocabulary. Each keeps its own cache and reads what the other wrote in one pass.
/// Errors: an empty prompt, an engine's own (such as a full context).
Result<PairGeneration> generate_pair(Engine& large, Engine& small, std::span<const TokenId> prompt,
                                     const PairPolicy& policy, const PairOptions& options);

}  // namespace kinglet
