// How far a model is from its source on calibration text: the fitness that searches compare candidates by.
#pragma once

#include <cstdint>
#include <vector>

#include "kinglet/engine.h"

namespace kinglet {

/// KL divergence from the source's next-token distributions, taken over its 512 most likely tokens, which are kept from
/// the first reading of a window on.
class WindowDivergence {
 public:
  /// The engine must outlive this.
  WindowDivergence(Engine& source, std::vector<std::vector<TokenId>> windows)
      : source_(source), windows_(std::move(windows)), kept_(windows_.size()) {}

  /// Mean over whole windows of `tokens` tokens or a few more, or all there are. The windows depend on the generation
  /// alone, so that all models of a comparison read the same.
  Result<double> mean(Engine& model, int generation, std::int64_t tokens);

 private:
  /// The source's distribution at one place.
  struct TopTokens {
    std::vector<TokenId> ids;
    std::vector<float> logits;
  };
  Result<void> read_source(std::size_t window);
  Result<double> sum(Engine& model, std::size_t window);

  Engine& source_;
  std::vector<std::vector<TokenId>> windows_;
  std::vector<std::vector<TopTokens>> kept_;  ///< of each window; empty until it is asked for
};

}  // namespace kinglet
