// From logits to a token. A sampler is a LogitsProcessor: it may say before the head which tokens it allows, and
// reshapes the candidates after it.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kinglet/result.h"
#include "kinglet/tokenizer.h"

namespace kinglet {

/// Tokens that may still be drawn with their logits. Kept as indices into the full row until something cuts it.
struct Candidates {
  std::vector<TokenId> ids;
  std::vector<float> logits;
  bool sorted = false;  ///< descending by logit, ties by ascending id
};

/// Values of the options that samplers declare ("temperature" -> 0.8).
using SamplerValues = std::map<std::string, double, std::less<>>;

class LogitsProcessor {
 public:
  virtual ~LogitsProcessor() = default;
  /// Before the head: the allowed ids in ascending order, or nothing for all of them.
  virtual std::optional<std::span<const TokenId>> allowed() { return std::nullopt; }
  virtual void apply(Candidates& candidates) = 0;
  /// A token was taken (also the prompt's, before the first).
  virtual void accept(TokenId) {}
  /// Undoes the last `count` accepts (drafts that were refused).
  virtual void rollback(std::int64_t) {}
};

struct SamplerOption {
  std::string_view name;  ///< "top-k": the flag is --top-k
  std::string_view help;
  double fallback, min, max;
  bool integer = false;
};

/// One sampler; registered by its file in src/decode/samplers. `order` says when it runs (penalties 10, bias 20,
/// temperature 50, top-k 60, ...).
struct SamplerDescriptor {
  std::string_view name;
  std::string_view paper;
  std::string_view help;
  int order = 50;
  std::span<const SamplerOption> options;
  /// Null where these values leave the distribution as it is.
  std::unique_ptr<LogitsProcessor> (*make)(const SamplerValues& values);
};
std::span<const SamplerDescriptor* const> samplers();

}  // namespace kinglet
