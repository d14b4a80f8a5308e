// The cheap models that draft in chains.
#pragma once

#include <memory>

#include "decode/draft_chain.h"

namespace kinglet {

/// The target's first layers with its final norm and a trimmed head, over the target's own cache of these layers.
Result<std::unique_ptr<ChainSource>> make_layers_source(const DraftContext& context);
/// context.model's engine, whose vocabulary is the target's.
Result<std::unique_ptr<ChainSource>> make_model_source(const DraftContext& context);

}  // namespace kinglet
