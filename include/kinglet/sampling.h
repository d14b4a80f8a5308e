// From logits to a token. A sampler is a LogitsProcessor: it may say before the head which tokens it allows, and
// reshapes the candidates after it.
#pragma once

#include <cstddef>
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

/// Tokens that may still be drawn, with their logits. Dense (index = id, a row of the head's output changed in place)
/// until something cuts it; then a list of ids. Logits are never NaN or +infinity (see reset()); -infinity means that a
/// token cannot be drawn.
class Candidates {
 public:
  /// The whole vocabulary. `row` is borrowed and changed in place; NaN becomes -infinity, +infinity the largest float.
  void reset(std::span<float> row);
  /// Only `ids` (ascending: what allowed() gave) with their logits; copied.
  void reset(std::span<const float> logits, std::span<const TokenId> ids);

  std::size_t size() const { return logits_.size(); }
  bool dense() const { return dense_; }
  bool sorted() const { return sorted_; }  ///< descending by logit, ties by ascending id
  TokenId id(std::size_t index) const { return dense_ ? static_cast<TokenId>(index) : ids_[index]; }
  std::span<const float> logits() const { return logits_; }
  /// To change values; the order is then no longer known unless the change kept it (`keeps_order`).
  std::span<float> change_logits(bool keeps_order = false);
  float* find(TokenId id);  ///< null where it was cut. Call change_logits() before changing values through it.

  float max() const;  ///< -infinity where nothing can be drawn
  /// Index of the largest logit, the lowest id among equals; size() where nothing can be drawn.
  std::size_t best() const;
  /// Sum of exp(logit - max()) in a fixed order.
  double weight_sum() const;

  /// Keeps the `count` best, sorted. Linear in size() plus the sort of what is kept.
  void keep_top(std::size_t count);
  /// Keeps those with logit >= bound, in their order; at least the best one.
  void keep_above(float bound);
  /// Keeps the best whose probabilities together reach `mass` (0..1), sorted; at least one.
  void keep_mass(double mass);
  /// Keeps these (indices ascending).
  void keep(std::span<const std::uint32_t> indices);

 private:
  void own(std::size_t count);  ///< logits_ spans the own storage's first `count`
  void sort_list();
  std::span<float> logits_;
  std::vector<TokenId> ids_;
  std::vector<float> storage_;
  std::vector<std::pair<float, TokenId>> list_;
  bool dense_ = false, sorted_ = false;
};

/// Values of the options that samplers declare ("temperature" -> 0.8), and "logit-bias:ID" -> what is added to the
/// logit of a token.
using SamplerValues = std::map<std::string, double, std::less<>>;

/// Stateful, one a sequence.
class LogitsProcessor {
 public:
  virtual ~LogitsProcessor() = default;
  /// Before the head: the allowed ids in ascending order, or nothing for all of them. Valid until the next call.
  virtual std::optional<std::span<const TokenId>> allowed() { return std::nullopt; }
  virtual void apply(Candidates& candidates) = 0;
  /// Why the last allowed() or apply() left nothing, where that has a reason of its own.
  virtual std::optional<Error> failure() const { return std::nullopt; }
  /// A token was taken (also the prompt's, before the first).
  virtual void accept(TokenId) {}
  /// Undoes the last `count` accepts (a look ahead along drafted tokens).
  virtual void rollback(std::int64_t /*count*/) {}
  /// Appends at most `most` tokens of a text that must follow whatever is drawn, as that text is usually cut. The loop
  /// checks them like a draft, so they need not be the only way to write it.
  virtual void foresee(std::size_t /*most*/, std::vector<TokenId>& /*out*/) {}
};

struct SamplerOption {
  std::string_view name;  ///< "top-k": the flag is --top-k
  std::string_view help;
  double fallback, min, max;
  bool integer = false;
};

/// Samplers below this order may change which token is the best one and also run in greedy decoding; those from it on
/// only shape the distribution that a token is drawn from.
inline constexpr int kShapingOrder = 50;

/// One sampler; registered by its file in src/decode/samplers. `order` says when it runs (logit bias 10, penalties 20,
/// temperature 50, top-k 60, typical 65, top-p 70, min-p 80).
struct SamplerDescriptor {
  std::string_view name;
  std::string_view paper;
  std::string_view help;
  int order = kShapingOrder;
  std::span<const SamplerOption> options;
  /// Null where these values leave the distribution as it is. Values are within their ranges; absent means fallback.
  std::unique_ptr<LogitsProcessor> (*make)(const SamplerValues& values);
};
std::span<const SamplerDescriptor* const> samplers();

/// kInvalidArgument for a name that no sampler declares or a value out of its range.
Result<void> check_sampler_values(const SamplerValues& values);
/// The value of an option, or what its descriptor falls back to.
double sampler_value(const SamplerValues& values, std::string_view name);

}  // namespace kinglet
