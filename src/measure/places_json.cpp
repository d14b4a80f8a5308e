#include "measure/places_json.h"

#include <nlohmann/json.hpp>

namespace kinglet {

nlohmann::ordered_json worst_places_json(const Divergence& divergence) {
  auto places = nlohmann::ordered_json::array();
  for (const Disagreement& place : divergence.worst)
    places.push_back({{"position", place.position},
                      {"kl", place.kl},
                      {"before", place.before},
                      {"token", place.token},
                      {"model_best", place.model_best},
                      {"reference_best", place.reference_best},
                      {"model_probability", place.model_probability},
                      {"reference_probability", place.reference_probability}});
  return places;
}

}  // namespace kinglet
