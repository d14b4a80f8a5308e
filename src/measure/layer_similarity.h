// How alike the hidden rows before and after each layer are (FoldGPT, arXiv 2407.00928, step 1).
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "kinglet/engine.h"

namespace kinglet {

/// Mean cosine over tokens between the residual streams at two depths: depth 0 is the embedding, l + 1 the output of
/// layer l. Symmetric, ones on the diagonal.
struct LayerSimilarity {
  int layers = 0;
  std::vector<double> cosines;  ///< [layers + 1, layers + 1]
  double at(int a, int b) const { return cosines[static_cast<std::size_t>(a * (layers + 1) + b)]; }
  /// Block influence (ShortGPT, arXiv 2403.03853): 1 - cosine of a layer's input and output.
  double influence(int layer) const { return 1 - at(layer, layer + 1); }
};

/// Feeds tokens at positions from `first` on, at most the engine's max_rows, and returns the hidden rows [ids, width]
/// before the first layer and after each.
Result<std::vector<std::vector<float>>> hidden_depths(Engine& engine, Sequence& sequence, std::span<const TokenId> ids,
                                                      std::int32_t first);

/// Runs the windows, each in an empty sequence. kInvalidArgument where there are none. `go_on` (share done) may stop
/// it: kCancelled.
Result<LayerSimilarity> measure_layer_similarity(Engine& engine, const std::vector<std::vector<TokenId>>& windows,
                                                 const std::function<bool(double share)>& go_on = {});

}  // namespace kinglet
