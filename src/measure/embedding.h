// One text to one vector.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "kinglet/engine.h"

namespace kinglet {

/// Feeds the tokens to a new sequence, pools the hidden rows as the model says (mean, first or last token; the last one
/// where a text model says nothing) and scales the result to length 1.
Result<std::vector<float>> embed_tokens(Engine& engine, std::span<const TokenId> ids);

}  // namespace kinglet
