// How far a model is from its source on calibration text: the fitness that searches compare candidates by.
#pragma once

#include <cstdint>
#include <vector>

#include "compress/search/evolution.h"
#include "kinglet/engine.h"

namespace kinglet {

/// KL divergence from the source's next-token distributions, taken over its kTopTokens most likely tokens, which are
/// kept from the first reading of a window on.
class WindowDivergence {
 public:
  static constexpr std::size_t kTopTokens = 512;
  static constexpr std::size_t kBytesPerToken = kTopTokens * (sizeof(TokenId) + sizeof(float));  ///< of what is kept
  /// The engine must outlive this.
  WindowDivergence(Engine& source, std::vector<std::vector<TokenId>> windows)
      : source_(source), windows_(std::move(windows)), kept_(windows_.size()) {}

  /// Mean of each of the data's windows: whole ones of its tokens or a few more, or all there are. They depend on the
  /// data alone, so that all models of a comparison read the same.
  Result<std::vector<double>> means(Engine& model, const SearchData& data);
  /// Mean over the windows.
  Result<double> mean(Engine& model, const SearchData& data);

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
