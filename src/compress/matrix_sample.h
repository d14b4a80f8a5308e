// Values of some rows of a matrix, for what differs little between rows.
#pragma once

#include <cstddef>
#include <vector>

#include "kinglet/checkpoint.h"
#include "kinglet/result.h"

namespace kinglet {

/// Rows spread over the whole matrix, at least one, about `values` numbers. kCorrupt where one is not finite.
Result<std::vector<float>> sample_matrix(const Checkpoint& source, const TensorInfo& tensor, std::size_t values,
                                         std::int64_t most_rows = INT64_MAX);

}  // namespace kinglet
