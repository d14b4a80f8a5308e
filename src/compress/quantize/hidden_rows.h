// Rows of hidden values, [rows, width], as rounding in sequence handles them.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "kinglet/model.h"

namespace kinglet {

using Rows = std::vector<float>;

void normalise(const ModelConfig& config, const Vector& weight, const Vector& bias, std::span<const float> from,
               Rows& to);

/// What the norm multiplies each row by: 1 / root mean square, for NormKind::kLayer about the row's mean.
std::vector<float> row_weights(std::span<const float> rows, std::size_t width, NormKind norm);

/// Without weights the rows stay.
void scale_rows(std::span<const float> weights, std::size_t width, Rows& rows);

void subtract(const Rows& from, const Rows& what, Rows& difference);

}  // namespace kinglet
