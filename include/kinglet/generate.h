// One generation loop for a single prompt, a batch, and every drafter, acceptance rule and logits processor.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "kinglet/draft.h"
#include "kinglet/engine.h"
#include "kinglet/sampling.h"

namespace kinglet {

struct GenerateOptions {
  std::int64_t max_tokens = 512;
  bool ignore_eos = false;
  SamplerValues sampling;  ///< greedy where temperature is 0 or absent
  std::vector<std::pair<TokenId, float>> logit_bias;
  std::uint64_t seed = 0;
  std::vector<std::string> stop;  ///< the text ends before the first of them
  int logprobs = 0;               ///< alternatives to report a token; 0: none
  int prefill_chunk = 0;          ///< 0: the engine's max_rows
  std::string drafter = "none";
  int draft_budget = 8;
};

struct TokenLogprob {
  TokenId id;
  float logprob;
  std::vector<std::pair<TokenId, float>> top;
};

struct Generation {
  std::vector<TokenId> token_ids;  ///< without the end token
  std::string text;                ///< stop strings cut off, whole UTF-8 characters
  std::string finish_reason;       ///< "stop" (end token or stop string), "length", "cancelled"
  std::vector<TokenLogprob> logprobs;
  std::int64_t prompt_tokens = 0;
  double prefill_ms = 0, decode_ms = 0;
  std::int64_t drafted = 0, accepted = 0, target_passes = 0;
};

struct GenerateRequest {
  std::vector<TokenId> prompt;
  GenerateOptions options;
  /// New whole characters, as soon as they are certain (not part of a stop string). Return false to stop.
  std::function<bool(std::string_view)> on_text;
  /// Continue this sequence, which already holds `prompt` up to its length(); null: a new one.
  Sequence* sequence = nullptr;
};

/// Runs all requests to their end, at most `batch` of them side by side; results in the order of the requests. Greedy
/// tokens do not depend on `batch`. `on_done(index, result)` is called as each one ends.
Result<std::vector<Generation>> generate(Engine& engine, std::vector<GenerateRequest> requests, int batch = 1,
                                         std::function<void(std::size_t, const Generation&)> on_done = {});

}  // namespace kinglet
