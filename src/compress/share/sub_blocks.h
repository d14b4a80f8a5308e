// Which attentions and feed-forwards a model can do without (EvoPress, arXiv 2410.14649, its search over depth).
#pragma once

#include <string>
#include <vector>

#include "kinglet/pass.h"

namespace kinglet {

enum class SubBlockChoice {
  kSearch,  ///< what the answers lose, by an evolutionary search that starts at the choice by cosine
  kCosine,  ///< those that turn the hidden rows least
  kWindow,  ///< both of neighbouring layers: the run that the answers lose least by
  kRandom,  ///< by the seed: what a choice has to beat
};

struct SubBlockRule {
  int attentions = 0, feed_forwards = 0;  ///< how many go
  SubBlockChoice by = SubBlockChoice::kSearch;
  int generations = 40;
};

/// By layer: true where it goes.
struct SubBlocks {
  std::vector<bool> attention, feed_forward;
};

/// The matrix whose product a sub-block adds to the residual stream.
std::string sub_block_output(int layer, bool attention);

/// kInvalidArgument where as many do not exist, kWindow takes unequal numbers, or the model does not generate;
/// kExhausted where it does not fit into the memory twice.
Result<SubBlocks> choose_sub_blocks(PassContext& context, const SubBlockRule& rule);

}  // namespace kinglet
