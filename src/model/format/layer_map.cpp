#include "kinglet/layer_map.h"

#include <numeric>
#include <string>

#include "base/limits.h"
#include "base/try.h"
#include "model/format/validate.h"

namespace kinglet {

Result<std::vector<int>> layer_map(const Metadata& metadata, std::int64_t layers) {
  std::vector<int> map(static_cast<std::size_t>(layers));
  std::iota(map.begin(), map.end(), 0);
  if (!metadata.contains(kLayerMapKey)) return map;
  KINGLET_TRY(const auto* given, metadata.integers(kLayerMapKey));
  const auto damaged = [](const std::string& what) {
    return fail(ErrorCode::kCorrupt, std::string(kLayerMapKey) + " " + what, std::string(kDamagedHint));
  };
  if (given->size() != map.size())
    return damaged("has " + std::to_string(given->size()) + " values for " + std::to_string(layers) + " layers");
  for (std::size_t layer = 0; layer < map.size(); ++layer) {
    const std::int64_t owner = (*given)[layer];
    const std::string says = "says that layer " + std::to_string(layer) + " has the matrices of layer ";
    if (owner < 0 || owner > static_cast<std::int64_t>(layer))
      return damaged(says + std::to_string(owner) + ", expected 0 to " + std::to_string(layer));
    if ((*given)[static_cast<std::size_t>(owner)] != owner)
      return damaged(says + std::to_string(owner) + ", which has none of its own");
    map[layer] = static_cast<int>(owner);
  }
  return map;
}

void set_layer_map(Metadata& metadata, const std::vector<int>& map) {
  bool shares = false;
  for (std::size_t layer = 0; layer < map.size(); ++layer) shares = shares || map[layer] != static_cast<int>(layer);
  if (!shares) return metadata.erase(kLayerMapKey);
  metadata.set_integers(kLayerMapKey, {map.begin(), map.end()});
}

std::vector<int> original_layers(const Metadata& metadata, std::int64_t layers) {
  std::vector<int> originals(static_cast<std::size_t>(layers));
  std::iota(originals.begin(), originals.end(), 0);
  const auto given = metadata.integers(kOriginalLayersKey);
  if (!given || *given == nullptr || (*given)->size() != originals.size()) return originals;
  for (std::int64_t layer : **given)
    if (layer < 0 || layer > limits::kLayers) return originals;
  originals.assign((*given)->begin(), (*given)->end());
  return originals;
}

}  // namespace kinglet
