#include "engine/linear_stages.h"

#include "tensor/kernels/matmul.h"

namespace kinglet {

LinearInput run_inner_stages(const Linear& linear, LinearInput x, Workspace& workspace, ThreadPool& pool, int thread) {
  for (int stage = 0; stage + 1 < linear.stages(); ++stage) {
    pool.barrier();  // another thread may still read the inner rows of the previous product
    const std::int64_t columns = linear.inner_outputs(stage);
    const WorkShare tiles = work_share((columns + kTileRows - 1) / kTileRows, thread, pool.size());
    linear.multiply(stage, x, {tiles.begin, tiles.end}, workspace.inner, std::size_t(columns));
    pool.barrier();
    x = {.values = workspace.inner, .value_stride = std::size_t(columns), .rows = x.rows};
    if (linear.stage_format(stage + 1) != InputFormat::kInt8) continue;
    x.quantized = workspace.inner_quantized;
    x.quantized_stride = quantized_row_bytes(columns);
    const WorkShare rows = work_share(x.rows, thread, pool.size());
    for (std::int64_t row = rows.begin; row < rows.end; ++row) {
      quantize_row(workspace.inner + row * columns, columns,
                   workspace.inner_quantized + std::size_t(row) * x.quantized_stride);
    }
    pool.barrier();
  }
  return x;
}

}  // namespace kinglet
