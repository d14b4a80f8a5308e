// round_compensated for Kinglet's trellis types, whose codes cannot be chosen one by one.
#pragma once

#include "compress/quantize/compensate.h"

namespace kinglet {

Result<CompensateReport> round_trellis(const BlockType& type, std::span<const float> targets, std::int64_t rows,
                                       OrderedMoments& moments, const CompensateOptions& options, ThreadPool& pool,
                                       std::byte* out);

}  // namespace kinglet
