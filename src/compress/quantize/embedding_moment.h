// What errors of an encoder's embedding do to its answers.
#pragma once

#include <vector>

#include "compress/workbench.h"
#include "kinglet/result.h"
#include "kinglet/tokenizer.h"

namespace kinglet {

/// H [width, width], symmetric: the mean over rows of J^T J, J how the pooled embedding of a text moves with one row
/// before the embedding's norm. Measured by finite differences on some of the windows; all layers must be packed.
Result<std::vector<float>> embedding_moment(Workbench& bench, const std::vector<std::vector<TokenId>>& windows);

}  // namespace kinglet
