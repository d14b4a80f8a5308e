#include "compress/matrix_sample.h"

#include <algorithm>
#include <cmath>

#include "base/try.h"
#include "kinglet/block_type.h"
#include "model/format/validate.h"

namespace kinglet {

Result<std::vector<float>> sample_matrix(const Checkpoint& source, const TensorInfo& tensor, std::size_t values,
                                         std::int64_t most_rows) {
  KINGLET_TRY(const TensorData data, source.data(tensor));
  const std::int64_t columns = tensor.columns(), rows = tensor.rows();
  const std::int64_t wanted = std::min(most_rows, static_cast<std::int64_t>(values) / columns);
  const std::int64_t count = std::clamp<std::int64_t>(wanted, 1, rows);
  std::vector<float> sample(static_cast<std::size_t>(count * columns));
  const std::uint64_t row_bytes = tensor.type->row_bytes(static_cast<std::uint64_t>(columns));
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t row = (2 * i + 1) * rows / (2 * count);
    tensor.type->decode(data.bytes.data() + static_cast<std::uint64_t>(row) * row_bytes,
                        static_cast<std::size_t>(columns / tensor.type->block_values), sample.data() + i * columns);
  }
  source.release(tensor, 0, tensor.bytes);  // the rows drag in pages around them, of every tensor of a large model
  for (float value : sample)
    if (!std::isfinite(value))
      return fail(ErrorCode::kCorrupt, "tensor '" + printable(tensor.name) + "' holds values that are not finite");
  return sample;
}

}  // namespace kinglet
