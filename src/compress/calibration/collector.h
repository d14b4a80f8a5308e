// What a model's matrices read on calibration text: ranges, mean squares, second moments, and which tokens come how
// often.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "kinglet/checkpoint.h"
#include "kinglet/engine.h"
#include "kinglet/result.h"

namespace kinglet {

/// The inputs of the matrices that read one tap point of a layer; of the head: layer = number of layers,
/// kAttentionInput.
struct InputStatistics {
  int layer = 0;
  TapPoint point = TapPoint::kAttentionInput;
  std::vector<float> low, high;    ///< [inputs] least and largest value
  std::vector<float> mean_square;  ///< [inputs]
  std::vector<float> moment;       ///< [inputs, inputs] sum of x x^T, row-major; empty unless asked for
};

struct CollectorOptions {
  bool moments = false;
  int threads = 0;
  /// Where results are kept, one file a layer, named by `key`; "": nowhere. A layer that is there and whole (each file
  /// ends with its SHA-256) is read instead of computed, where all are.
  std::string folder = {};
  std::string key = {};  ///< names model, text and windows: checksums
};

/// Streams the text through the model layer by layer: one layer of weights, one hidden row a token and one layer's
/// statistics are in memory. `sink` gets each layer's points in order, the head's last. Same bits for any threads.
Result<void> collect_statistics(const Checkpoint& checkpoint, const std::vector<std::vector<TokenId>>& windows,
                                const CollectorOptions& options,
                                const std::function<Result<void>(InputStatistics)>& sink);

/// How often each token of the vocabulary comes.
std::vector<std::int64_t> token_counts(const std::vector<std::vector<TokenId>>& windows, std::int64_t vocabulary);

}  // namespace kinglet
