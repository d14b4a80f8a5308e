// Two models answer together: a writer writes, a checker reads what was written in one pass and may undo it. A policy
// says who writes when and what is undone. Greedy. Each model keeps its own memory and catches up with the other.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kinglet/engine.h"
#include "kinglet/generate.h"

namespace kinglet {

/// What the checker does beside undoing.
struct PairTurns {
  bool checker_begins = false;   ///< it writes the first token
  bool checker_adds = false;     ///< where nothing was undone, its visit adds a token of its own
  bool checker_goes_on = false;  ///< after an undoing it writes one more than the token in place
};

/// When the writer hands over, and what the checker undoes.
class PairPolicy {
 public:
  virtual ~PairPolicy() = default;
  virtual PairTurns turns() const = 0;
  /// After a step of the writer: its logits [vocabulary]. True: its token is thrown away and the checker steps in.
  virtual bool hands_over(std::span<const float> /*writer*/) const { return false; }
  /// How strongly the checker, with these logits [vocabulary] before it, objects to the writer's token, to which the
  /// writer gave the log-probability `writer_logprob` (no temperature in either). Nothing: it stands. Otherwise the
  /// token and all after it are undone, and the checker's best stands in its place.
  virtual std::optional<double> objection(std::span<const float> checker, TokenId token,
                                          double writer_logprob) const = 0;
};

/// What the policies may be told; each takes what it knows.
struct PairSettings {
  double fallback = 0.6;  ///< bild: the writer hands over below this probability of its best token
  double rollback = 5;    ///< bild: -log p that the checker still bears; 0: only what it would write itself
  double ratio = 20;      ///< cleangen: the writer's probability over the checker's that is suspicious; may be infinite
};

/// One way for two models to answer together. Registered by its file in src/decode/route/policies.
struct PairPolicyDescriptor {
  std::string_view name;
  std::string_view paper;
  std::string_view help;
  std::string_view options;  ///< how a command line asks for it
  std::unique_ptr<PairPolicy> (*make)(const PairSettings& settings);
};
std::span<const PairPolicyDescriptor* const> pair_policies();
/// kInvalidArgument with the names there are.
Result<std::unique_ptr<PairPolicy>> make_pair_policy(std::string_view name, const PairSettings& settings);

struct PairOptions {
  std::int64_t max_tokens = 512;
  bool ignore_eos = false;
  int block = 10;                 ///< most tokens of the writer between two visits of the checker
  std::vector<std::string> stop;  ///< the text ends before the first of them
  bool measures = false;          ///< the answer's probability under the checker is wanted
  /// Whole characters of what the checker has seen and left standing. False stops.
  std::function<bool(std::string_view)> on_text;
};

/// A token of the writer that the checker replaced by another.
struct PairReplacement {
  std::size_t position = 0;  ///< in the answer
  TokenId token = 0, by = 0;
  double objection = 0;
};

struct PairGeneration {
  Generation answer;                          ///< target_passes: the checker's visits; accepted: the writer's tokens
  std::int64_t visits = 0, rollbacks = 0;     ///< passes of the checker; of them, those that undid something
  std::int64_t stood = 0, wasted = 0;         ///< tokens of the writer that stood; that were undone
  std::int64_t checker_rows = 0;              ///< tokens that the checker was fed: each one once, and what was undone
  std::vector<PairReplacement> replacements;  ///< ascending by position
  /// Where it was asked for: mean of -log p (natural) of all tokens that stood, under the checker.
  double checker_nll = 0;
};

/// A writer and a checker with what they remember from answer to answer, so that a conversation is not read again.
class ModelPair {
 public:
  virtual ~ModelPair() = default;
  /// Both engines must outlive it. kInvalidArgument where the vocabularies have different sizes; that each id is the
  /// same text is the caller's to see to.
  static Result<std::unique_ptr<ModelPair>> create(Engine& writer, Engine& checker);
  /// Errors: an empty prompt, an engine's own (such as a full context).
  virtual Result<PairGeneration> answer(std::span<const TokenId> prompt, const PairPolicy& policy,
                                        const PairOptions& options) = 0;
};

}  // namespace kinglet
