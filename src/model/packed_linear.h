// A matrix of which the kernels' tiles are all that is kept: what matrices have in common however they are stored.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "kinglet/linear.h"
#include "tensor/kernels/matmul.h"

namespace kinglet {

class PackedLinear : public Linear {
 public:
  explicit PackedLinear(PackPlan plan) : plan_(plan) {}

  std::int64_t outputs() const override { return plan_.outputs; }
  std::int64_t inputs() const override { return plan_.inputs; }
  InputFormat input_format() const override { return plan_.input; }
  std::uint64_t bytes() const override { return std::uint64_t(tiles()) * tile_bytes(plan_); }

  void multiply(int stage, const LinearInput& x, TileRange range, float* y, std::size_t stride) const override;
  void gather(std::span<const std::int32_t> ids, float* out) const override;

  std::size_t packed_bytes(TileRange range) const override { return std::size_t(range.count()) * tile_bytes(plan_); }
  void adopt(std::span<const Share> shares) override {
    shares_.assign(shares.begin(), shares.end());
    drop_source();
  }

 protected:
  const PackPlan& plan() const { return plan_; }
  /// Exact values of a row, before adopt().
  virtual void source_row(std::int64_t row, float* out) const = 0;
  virtual void drop_source() = 0;

 private:
  const std::byte* tile(std::int64_t index) const;

  PackPlan plan_;
  std::vector<Share> shares_;
};

/// Rows that are computed while the matrix is packed, and kept as `type`: rows(first, count, out) gives out[count,
/// inputs] for up to 16 rows. May be called from several threads; dropped once the matrix is packed. kUnsupported where
/// the type does not fit the shape.
using RowMaker = std::function<void(std::int64_t first, int count, float* out)>;
Result<std::unique_ptr<Linear>> make_computed_linear(const BlockType& type, std::int64_t outputs, std::int64_t inputs,
                                                     RowMaker rows);

}  // namespace kinglet
