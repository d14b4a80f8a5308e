// round_compensated for Kinglet's trellis types, whose codes cannot be chosen one by one.
#pragma once

#include "compress/quantize/compensate.h"

namespace kinglet {

CompensateReport round_trellis(const BlockType& type, std::span<const float> targets, std::int64_t rows,
                               std::int64_t inputs, std::span<const float> moment, const CompensateOptions& options,
                               ThreadPool& pool, std::byte* out);

}  // namespace kinglet
