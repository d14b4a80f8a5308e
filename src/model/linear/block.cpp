// Matrices in blocks (every GGUF type) or plain floats: packed into tiles of 16 rows for the kernels of
// tensor/kernels/matmul.h.
#include <algorithm>
#include <utility>
#include <vector>

#include "base/try.h"
#include "kinglet/linear.h"
#include "tensor/kernels/matmul.h"

namespace kinglet {
namespace {

class BlockLinear final : public Linear {
 public:
  BlockLinear(PackPlan plan, TensorData source) : plan_(plan), source_(std::move(source)) {}

  std::int64_t outputs() const override { return plan_.outputs; }
  std::int64_t inputs() const override { return plan_.inputs; }
  InputFormat input_format() const override { return plan_.input; }
  std::uint64_t bytes() const override { return std::uint64_t(tiles()) * tile_bytes(plan_); }

  void multiply(int, const LinearInput& x, TileRange range, float* y, std::size_t stride) const override {
    for (const Share& share : shares_) {
      const std::int64_t begin = std::max(range.begin, share.tiles.begin);
      const std::int64_t end = std::min(range.end, share.tiles.end);
      if (begin >= end) continue;
      const std::byte* tiles = share.data + std::size_t(begin - share.tiles.begin) * tile_bytes(plan_);
      const std::int64_t outputs = std::min((end - begin) * kTileRows, plan_.outputs - begin * kTileRows);
      multiply_tiles(plan_, tiles, int(end - begin), int(outputs), x, y + begin * kTileRows, stride);
    }
  }

  void gather(std::span<const std::int32_t> ids, float* out) const override {
    if (shares_.empty()) return gather_from_source(ids, out);
    for (std::size_t i = 0; i < ids.size(); ++i) {
      unpack_row(plan_, tile(ids[i] / kTileRows), ids[i] % kTileRows, out + i * std::size_t(plan_.inputs));
    }
  }

  std::size_t packed_bytes(TileRange range) const override { return std::size_t(range.count()) * tile_bytes(plan_); }
  void pack(TileRange range, std::byte* to) const override {
    pack_tiles(plan_, source_.bytes.data(), range.begin, range.end, to);
  }
  void adopt(std::span<const Share> shares) override {
    shares_.assign(shares.begin(), shares.end());
    source_ = {};
  }

 private:
  void gather_from_source(std::span<const std::int32_t> ids, float* out) const {
    const std::size_t blocks = std::size_t(plan_.inputs) / std::size_t(plan_.type->block_values);
    for (std::size_t i = 0; i < ids.size(); ++i) {
      const std::byte* row = source_.bytes.data() + std::size_t(ids[i]) * plan_.source_row_bytes;
      plan_.type->decode(row, blocks, out + i * std::size_t(plan_.inputs));
    }
  }

  const std::byte* tile(std::int64_t index) const {
    for (const Share& share : shares_) {
      if (index < share.tiles.end) return share.data + std::size_t(index - share.tiles.begin) * tile_bytes(plan_);
    }
    return nullptr;
  }

  PackPlan plan_;
  TensorData source_;
  std::vector<Share> shares_;
};

bool accepts(const Checkpoint&, const TensorInfo& tensor) {
  return tensor.shape.size() == 2 && plan_packing(*tensor.type, tensor.rows(), tensor.columns()).has_value();
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
