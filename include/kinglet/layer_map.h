// Layers that share their matrices. The key kinglet.layer_map has one number for each layer: the layer whose matrices
// it multiplies with, itself or one before it. A layer that shares has no matrices in the file, and its own vectors
// (norms, biases). Hyperparameters, positions and the KV cache go by the layer itself.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "kinglet/metadata.h"
#include "kinglet/result.h"

namespace kinglet {

inline constexpr std::string_view kLayerMapKey = "kinglet.layer_map";

/// The owner of each of `layers` layers' matrices; the layers themselves where the key is absent. kCorrupt where it has
/// another length, names a later layer, or one that shares itself.
Result<std::vector<int>> layer_map(const Metadata& metadata, std::int64_t layers);
/// A map of layers to themselves takes the key away.
void set_layer_map(Metadata& metadata, const std::vector<int>& map);

/// The numbers that a model's layers had in the model that it was made of, where layers were left out; the key is not
/// trusted: the layers themselves where it is absent or does not fit.
inline constexpr std::string_view kOriginalLayersKey = "kinglet.layers.original";
std::vector<int> original_layers(const Metadata& metadata, std::int64_t layers);

}  // namespace kinglet
