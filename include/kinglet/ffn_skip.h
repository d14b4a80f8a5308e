// Feed-forwards that decoding skips where they hardly change a row (FFN-SkipLLM: Jaiswal et al. 2024, arXiv
// 2404.03865). Attention runs in every layer, so the cache stays complete. A row's feed-forwards are watched from
// below: once one left the row where it was (cosine of the row before and after it >= threshold), the next `probe`
// layers skip theirs, then one runs again to see whether that is still so.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kinglet/model.h"
#include "kinglet/result.h"

namespace kinglet {

/// The first is the method; the others are what it is measured against.
enum class SkipRule { kAdaptive, kStatic, kRandom, kLayers };
Result<SkipRule> parse_skip_rule(std::string_view name);
std::string_view skip_rule_name(SkipRule rule);

/// One point of what calibration tried.
struct SkipPoint {
  double threshold = 0, share = 0, nll = 0;
};

/// What a .skip file holds; belongs to one model. Rows that come alone (decoding) skip; prompts and drafts run all.
class FeedForwardSkip {
 public:
  SkipRule rule = SkipRule::kAdaptive;
  double threshold = 2;            ///< kAdaptive: above 1 nothing is skipped
  double chance = 0;               ///< kRandom: of a warm layer
  int probe = 1;                   ///< layers skipped after one that changed little; 0: all that are left
  int warm_up = 32;                ///< first answered tokens of a sequence that run everything
  std::vector<std::uint8_t> cold;  ///< by layer: its feed-forward always runs
  std::vector<std::uint8_t> off;   ///< by layer: kStatic its feed-forward, kLayers its whole contribution never counts
  std::vector<double> similarity;  ///< by layer: mean cosine before and after, over the calibration text
  std::vector<SkipPoint> curve;    ///< thresholds that were tried; the one without skips has share 0
  std::string model;               ///< SHA-256 of the model's file in hexadecimal; empty: not checked

  FeedForwardSkip() = default;
  FeedForwardSkip(const FeedForwardSkip& other);

  /// kInvalidArgument where lists do not fit the number of layers.
  Result<void> check(std::int64_t layers) const;
  Result<void> save(const std::string& path) const;
  /// Nothing in the file is trusted.
  static Result<std::unique_ptr<FeedForwardSkip>> load(const std::string& path);

  /// Feed-forwards of rows that came alone since this was made.
  mutable std::atomic<std::int64_t> ran{0}, skipped{0};
};

struct SkipCalibration {
  SkipRule rule = SkipRule::kAdaptive;
  double ratio = 0.25;  ///< wanted share of skipped feed-forwards of rows after the warm-up, 0 < ratio <= 0.6
  int probe = 1, warm_up = 32, windows = 8, window = 192;
  /// Of kAdaptive: beside the paper's cold layers also those whose feed-forwards cost most nats when they are left out
  /// alone, as many as the text wants.
  bool costly_are_cold = true;
  /// How many exchanges of a layer that may skip for one of the costly ones are tried after that: what layers cost
  /// alone says little of what several cost together.
  int exchanges = 24;
  std::function<void(int done, int total)> progress;
};
/// Finds the cold layers, the similarities and the threshold (by bisection on decoding the text token by token).
Result<std::unique_ptr<FeedForwardSkip>> calibrate_ffn_skip(const std::shared_ptr<const Model>& model,
                                                            std::span<const TokenId> ids, const SkipCalibration& how);

}  // namespace kinglet
