// How much the model's answers move when a matrix is off by a little.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "compress/held_out.h"
#include "kinglet/pass.h"

namespace kinglet {

/// KL divergence in nats (encoders: 1 - cosine of embeddings) for each unit of relative squared error, by matrix.
using Sensitivities = std::map<std::string, double>;

/// Measured on the calibration text: each layer, each kind of matrix and the head get random errors in turn, and a
/// matrix is taken as the product of its layer's and its kind's share (as in a table of two factors). Kept in the cache
/// folder by the checksums of model and text. kExhausted where the model is above the memory budget: then the planner
/// goes by kind alone.
Result<Sensitivities> measure_sensitivities(PassContext& context);

/// The part of a matrix in its layer: "attn_q" of "blk.3.attn_q.weight"; the whole name outside layers.
std::string matrix_kind(std::string_view name);

/// Of the calibration text of an encoder: `held_out` is what the sensitivities are measured on, `calibration` what else
/// may look at beforehand, such as what sorts an embedding's rows. Rare words stand in clusters, so the two are pieces
/// of some kilobytes: lines that lie between each other have the same words.
SplitText sensitivity_text(std::string_view text);

}  // namespace kinglet
