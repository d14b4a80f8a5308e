// The places where two models differ most, as JSON.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "kinglet/measure.h"

namespace kinglet {

/// [{"position", "kl", "before", "token", …}], in the order of `worst`.
nlohmann::ordered_json worst_places_json(const Divergence& divergence);

}  // namespace kinglet
