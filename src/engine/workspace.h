// All memory that a forward call needs, allocated once for the most rows of a call.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/aligned_memory.h"
#include "kinglet/model.h"

namespace kinglet {

/// Up to this many rows every thread does the row-wise work (residual sum, norm, rounding) for itself in its own copy:
/// 0.2 us a row at width 576, less than the barrier that sharing it would need.
inline constexpr int kPrivateRows = 4;

/// Rows as one thread sees them: its own copies, or the call's.
struct RowBuffers {
  float* hidden = nullptr;         ///< [rows, width]
  float* normed = nullptr;         ///< [rows, widest input]
  std::byte* quantized = nullptr;  ///< [rows] quantized rows of the widest input
};

class Workspace {
 public:
  static Result<Workspace> create(const Model& model, int max_rows);

  std::size_t widest = 0;            ///< floats of the widest input of a matrix
  std::size_t quantized_stride = 0;  ///< room for a quantized row of that width or less
  float *query = nullptr, *key = nullptr, *value = nullptr, *attended = nullptr, *projected = nullptr;
  float *gate = nullptr, *up = nullptr;
  float* inner = nullptr;  ///< between the stages of a Linear
  std::byte* inner_quantized = nullptr;
  float* hidden = nullptr;                                  ///< [max_rows, width], for step()
  float *cosines = nullptr, *sines = nullptr;               ///< [rope tables, max_rows, rope_dimensions / 2]
  RowBuffers shared;                                        ///< without hidden: that is the call's
  std::vector<RowBuffers> own;                              ///< one a thread, kPrivateRows rows
  std::vector<std::int32_t> all, active, place, positions;  ///< row lists of a forward call, see ForwardPass
  std::uint64_t bytes() const { return memory_.size(); }

 private:
  AlignedMemory memory_;
};

}  // namespace kinglet
