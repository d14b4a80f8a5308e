// Which layers a model can do without, and which can share their matrices.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "compress/share/folded_checkpoint.h"
#include "kinglet/pass.h"
#include "measure/layer_similarity.h"

namespace kinglet {

struct FoldRule {
  double remove = 0;        ///< below 1: share of the layers, rounded up; otherwise how many
  std::int64_t share = 1;   ///< layers of a group that share matrices; 1: none
  std::int64_t pairs = 0;   ///< instead of all groups: so many neighbours, the most alike first
  bool divergence = false;  ///< remove one by one, and pair, what changes the answers least
  bool random = false;      ///< any layers inside, by the seed: what a choice has to be compared with
  FoldedNorms norms = FoldedNorms::kOwn;
};

/// Adjacent layers that may share: same sizes and kind of attention.
bool can_share(const LayerConfig& a, const LayerConfig& b);

/// How far a layout's answers are from the source's.
using DivergenceOf = std::function<Result<double>(const std::vector<FoldedLayer>&)>;

/// The layout for a rule. `divergence_of` is only asked where the rule says divergence. kInvalidArgument where fewer
/// than two layers would stay, or as many pairs do not exist.
Result<std::vector<FoldedLayer>> choose_layout(const FoldRule& rule, const ModelConfig& config,
                                               const LayerSimilarity& similarity, std::uint64_t seed,
                                               const DivergenceOf& divergence_of);

}  // namespace kinglet
