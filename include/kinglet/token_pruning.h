// Prompt tokens that later layers leave out (LazyLLM: Fu et al. 2024, arXiv 2407.14057). After some layers, those
// tokens go no further to which the last one attends least; where they stopped their hidden rows wait. When a later
// token attends to one of them, it goes on from there: each token passes each layer at most once.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "kinglet/result.h"

namespace kinglet {

struct TokenPruning {
  struct Stage {
    int layer = 0;    ///< tokens stop after this many layers
    double rate = 0;  ///< share of the tokens still there that stop
  };
  std::vector<Stage> stages;            ///< ascending
  bool random = false;                  ///< instead of the least attended: what the method is measured against
  static constexpr int kShortest = 64;  ///< shorter prompts are read whole
};

/// RATE,…[@LAYER,…][:random]. Without layers: evenly from half of them to nine tenths; one rate in the middle.
/// kInvalidArgument where a rate is not in [0, 1) or the layers do not ascend within the model.
Result<TokenPruning> parse_token_pruning(std::string_view text, int layers);

}  // namespace kinglet
