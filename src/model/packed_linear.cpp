#include "model/packed_linear.h"

#include <algorithm>
#include <utility>

namespace kinglet {

void PackedLinear::multiply(int, const LinearInput& x, TileRange range, float* y, std::size_t stride) const {
  for (const Share& share : shares_) {
    const std::int64_t begin = std::max(range.begin, share.tiles.begin);
    const std::int64_t end = std::min(range.end, share.tiles.end);
    if (begin >= end) continue;
    const std::byte* tiles = share.data + std::size_t(begin - share.tiles.begin) * tile_bytes(plan_);
    const std::int64_t outputs = std::min((end - begin) * kTileRows, plan_.outputs - begin * kTileRows);
    multiply_tiles(plan_, tiles, int(end - begin), int(outputs), x, y + begin * kTileRows, stride);
  }
}

void PackedLinear::gather(std::span<const std::int32_t> ids, float* out) const {
  for (std::size_t i = 0; i < ids.size(); ++i) {
    float* row = out + i * std::size_t(plan_.inputs);
    if (shares_.empty()) {
      source_row(ids[i], row);
    } else {
      unpack_row(plan_, tile(ids[i] / kTileRows), ids[i] % kTileRows, row);
    }
  }
}

const std::byte* PackedLinear::tile(std::int64_t index) const {
  for (const Share& share : shares_) {
    if (index < share.tiles.end) return share.data + std::size_t(index - share.tiles.begin) * tile_bytes(plan_);
  }
  return nullptr;
}

namespace {

class ComputedLinear final : public PackedLinear {
 public:
  ComputedLinear(PackPlan plan, RowMaker rows) : PackedLinear(plan), rows_(std::move(rows)) {}

  void pack(TileRange range, std::byte* to) const override {
    std::vector<std::byte> bytes(kTileRows * plan().source_row_bytes);
    PackPlan one = plan();
    for (std::int64_t t = range.begin; t < range.end; ++t, to += tile_bytes(plan())) {
      one.outputs = std::min<std::int64_t>(kTileRows, outputs() - t * kTileRows);
      encode(t * kTileRows, static_cast<int>(one.outputs), bytes.data());
      pack_tiles(one, bytes.data(), 0, 1, to);
    }
  }

 private:
  std::size_t blocks() const { return std::size_t(inputs()) / std::size_t(plan().type->block_values); }

  void encode(std::int64_t first, int count, std::byte* to) const {
    std::vector<float> values(std::size_t(count) * std::size_t(inputs()));
    rows_(first, count, values.data());
    plan().type->encode(values.data(), std::size_t(count) * blocks(), nullptr, to);
  }

  void source_row(std::int64_t row, float* out) const override {
    std::vector<std::byte> bytes(plan().source_row_bytes);
    encode(row, 1, bytes.data());
    plan().type->decode(bytes.data(), blocks(), out);
  }
  void drop_source() override { rows_ = nullptr; }

  RowMaker rows_;
};

}  // namespace

Result<std::unique_ptr<Linear>> make_computed_linear(const BlockType& type, std::int64_t outputs, std::int64_t inputs,
                                                     RowMaker rows) {
  const auto plan = plan_packing(type, outputs, inputs);
  if (!plan || type.encode == nullptr)
    return fail(ErrorCode::kUnsupported, std::to_string(outputs) + " rows of " + std::to_string(inputs) +
                                             " values cannot be kept as " + std::string(type.name));
  return std::make_unique<ComputedLinear>(*plan, std::move(rows));
}

}  // namespace kinglet
