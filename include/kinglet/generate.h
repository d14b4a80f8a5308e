// One generation loop for a single prompt, a batch, and every drafter, acceptance rule and logits processor.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "kinglet/draft.h"
#include "kinglet/engine.h"
#include "kinglet/sampling.h"

namespace kinglet {

struct GenerateOptions {
  std::int64_t max_tokens = 512;
  bool ignore_eos = false;  ///< the end token is a token like any other
  SamplerValues sampling;   ///< greedy where temperature is 0 or absent
  std::vector<std::pair<TokenId, float>> logit_bias;
  std::uint64_t seed = 0;
  std::vector<std::string> stop;  ///< the text ends before the first of them
  int logprobs = 0;               ///< alternatives to report a token; 0: none
  int prefill_chunk = 0;          ///< 0: the engine's max_rows
  std::string drafter = "none";
  std::shared_ptr<DraftModel> draft_model;  ///< of the drafters that need one; null: none
  int draft_budget = 16;                    ///< most tokens of one proposal
  double draft_least_probability = 0.4;     ///< a chain ends after a token that its model gave less than this
  bool jump_ahead = true;  ///< text that a processor foresees is checked in the pass that draws the token before it
  /// Sampling with a drafter that draws its proposals: false: the tokens are those of the seed without a drafter; true:
  /// more proposals stand (a token that was drawn with probability q is taken with min(1, p/q), else one is drawn from
  /// what p has more than q; Leviathan et al. 2023). The distribution of the tokens is the same.
  bool ratio_acceptance = false;
  std::function<void()> after_pass;  ///< called after each pass that the request has a part in; may be null
};

/// Log-probabilities of the model itself, before any sampler.
struct TokenLogprob {
  TokenId id;
  float logprob;
  std::vector<std::pair<TokenId, float>> top;  ///< descending
};

struct Generation {
  std::vector<TokenId> token_ids;  ///< without the end token
  std::string text;                ///< stop strings cut off, whole UTF-8 characters
  std::string finish_reason;       ///< "stop" (end token or stop string), "length", "cancelled", "error"
  std::optional<Error> error;      ///< why, where finish_reason is "error"; what came before it stands
  std::vector<TokenLogprob> logprobs;
  std::int64_t prompt_tokens = 0;
  std::int64_t cached_tokens = 0;  ///< of them already in the request's sequence
  double prefill_ms = 0;           ///< from its start to its first token, by the wall clock
  double decode_ms = 0;            ///< from its first token to its last
  std::int64_t decode_tokens = 0;  ///< tokens drawn in decode_ms (an end token counts)
  std::int64_t drafted = 0, accepted = 0;
  double draft_ms = 0;  ///< spent on making proposals
  /// Bytes of weights that its proposals read, and that the passes after its first token read (its share, where others
  /// were in the same pass).
  std::uint64_t draft_bytes = 0, pass_bytes = 0;
  std::int64_t forced_tokens = 0;  ///< foreseen tokens that stood: they cost no pass of their own
  std::int64_t target_passes = 0;  ///< passes of the model that gave tokens
};

struct GenerateRequest {
  std::vector<TokenId> prompt;
  GenerateOptions options;
  /// New whole characters, as soon as they are certain (not part of a stop string). Return false to stop.
  std::function<bool(std::string_view)> on_text;
  /// Continue this sequence, which already holds `prompt` up to its length(); null: a new one. Afterwards it holds the
  /// prompt and the answer but for its last token.
  Sequence* sequence = nullptr;
  /// Run before the samplers, in this order; state of this request alone.
  std::vector<std::shared_ptr<LogitsProcessor>> processors;
};

/// Runs all requests to their end, at most `batch` of them side by side; results in the order of the requests. Tokens
/// do not depend on `batch`, on `prefill_chunk` or on the drafter. `on_done(index, result)` is called as each one ends.
/// An error of one request ends that request only. SIGINT and SIGTERM (base/interrupt.h) end all as "cancelled".
Result<std::vector<Generation>> generate(Engine& engine, std::vector<GenerateRequest> requests, int batch = 1,
                                         std::function<void(std::size_t, const Generation&)> on_done = {});

}  // namespace kinglet
