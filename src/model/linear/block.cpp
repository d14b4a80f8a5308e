// Matrices in blocks (every GGUF type) or plain floats: packed into tiles of 16 rows for the kernels of
// tensor/kernels/matmul.h.
#include <utility>

#include "base/try.h"
#include "model/packed_linear.h"

namespace kinglet {
namespace {

class BlockLinear final : public PackedLinear {
 public:
  BlockLinear(PackPlan plan, TensorData source) : PackedLinear(plan), source_(std::move(source)) {}

  std::string kernel() const override { return describe_kernel(plan()); }
  void pack(TileRange range, std::byte* to) const override {
    pack_tiles(plan(), source_.bytes.data(), range.begin, range.end, to);
  }

 private:
  void source_row(std::int64_t row, float* out) const override {
    const std::size_t blocks = std::size_t(inputs()) / std::size_t(plan().type->block_values);
    plan().type->decode(source_.bytes.data() + std::size_t(row) * plan().source_row_bytes, blocks, out);
  }
  void drop_source() override { source_ = {}; }

  TensorData source_;
};

bool accepts(const Checkpoint&, const TensorInfo& tensor) {
  return tensor.codec.empty() && tensor.shape.size() == 2 &&
         plan_packing(*tensor.type, tensor.rows(), tensor.columns()).has_value();
}

Result<std::unique_ptr<Linear>> make(const Checkpoint& checkpoint, const TensorInfo& tensor) {
  KINGLET_TRY(TensorData data, checkpoint.data(tensor));
  return std::make_unique<BlockLinear>(*plan_packing(*tensor.type, tensor.rows(), tensor.columns()), std::move(data));
}

}  // namespace

extern const LinearDescriptor linear_block = {
    .name = "block",
    .paper = "",
    .help = "every GGUF block type and plain f32, f16 and bf16, multiplied as stored",
    .accepts = accepts,
    .make = make,
};

}  // namespace kinglet
