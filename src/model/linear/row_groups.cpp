// A matrix whose rows lie in groups, each of its own type, so that few rows may have more bits than the others: for an
// embedding, of which some rows are read far more often. (Types by token frequency: Adaptive Input Representations,
// arXiv 1809.10853, give frequent tokens more capacity by width.)
#include <string>
#include <utility>
#include <vector>

#include "base/try.h"
#include "kinglet/linear.h"
#include "model/row_groups_format.h"

namespace kinglet {
namespace {

/// Where a row lies.
struct Place {
  std::int32_t group, row;
};

class RowGroupsLinear final : public Linear {
 public:
  RowGroupsLinear(std::vector<std::unique_ptr<Linear>> groups, std::vector<Place> places)
      : groups_(std::move(groups)), places_(std::move(places)) {}

  std::int64_t outputs() const override { return static_cast<std::int64_t>(places_.size()); }
  std::int64_t inputs() const override { return groups_[0]->inputs(); }
  InputFormat input_format() const override { return InputFormat::kFloat32; }
  std::uint64_t bytes() const override {
    std::uint64_t sum = 0;
    for (const auto& group : groups_) sum += group->bytes();
    return sum;
  }
  std::span<const std::unique_ptr<Linear>> parts() const override { return groups_; }

  // Row by row from their values: right for groups of any types, and slow. What is multiplied in earnest is stored
  // otherwise.
  void multiply(int, const LinearInput& x, TileRange tiles, float* y, std::size_t stride) const override {
    const auto columns = static_cast<std::size_t>(inputs());
    std::vector<float> weights(columns);
    for (std::int64_t o = tiles.begin * kTileRows; o < std::min(tiles.end * kTileRows, outputs()); ++o) {
      const auto id = static_cast<std::int32_t>(o);
      gather({&id, 1}, weights.data());
      for (int r = 0; r < x.rows; ++r) {
        const float* row = x.values + static_cast<std::size_t>(r) * x.value_stride;
        double sum = 0;
        for (std::size_t i = 0; i < columns; ++i) sum += static_cast<double>(weights[i]) * row[i];
        y[static_cast<std::size_t>(r) * stride + static_cast<std::size_t>(o)] = static_cast<float>(sum);
      }
    }
  }

  void gather(std::span<const std::int32_t> ids, float* out) const override {
    for (const std::int32_t id : ids) {
      const Place& place = places_[static_cast<std::size_t>(id)];
      groups_[static_cast<std::size_t>(place.group)]->gather({&place.row, 1}, out);
      out += inputs();
    }
  }

  // Its groups are packed instead.
  std::size_t packed_bytes(TileRange) const override { return 0; }
  void pack(TileRange, std::byte*) const override {}
  void adopt(std::span<const Share>) override {}

 private:
  std::vector<std::unique_ptr<Linear>> groups_;
  std::vector<Place> places_;
};

/// The places of all rows, which fill the groups exactly.
Result<std::vector<Place>> read_places(const Checkpoint& checkpoint, const FactoredMatrix& matrix,
                                       std::span<const TensorInfo* const> groups, const TensorInfo& map) {
  const auto misfit = [&](const std::string& what) {
    return fail(ErrorCode::kCorrupt, "the row groups of " + matrix.name + " do not fit: " + what);
  };
  if (map.type->name != "I8" || map.elements() != matrix.outputs)
    return misfit(map.name + " has to be I8 with " + std::to_string(matrix.outputs) + " values");
  KINGLET_TRY(const TensorData data, checkpoint.data(map));
  std::vector<Place> places;
  std::vector<std::int32_t> counts(groups.size());
  places.reserve(data.bytes.size());
  for (const std::byte value : data.bytes) {
    const auto group = std::to_integer<std::size_t>(value);
    if (group >= groups.size()) return misfit("a row is in group " + std::to_string(group));
    places.push_back({static_cast<std::int32_t>(group), counts[group]++});
  }
  for (std::size_t g = 0; g < groups.size(); ++g) {
    if (groups[g]->shape.size() != 2 || groups[g]->columns() != matrix.inputs || groups[g]->rows() != counts[g])
      return misfit(groups[g]->name + " is not " + std::to_string(counts[g]) + " x " + std::to_string(matrix.inputs));
  }
  return places;
}

Result<std::unique_ptr<Linear>> make_factored(const Checkpoint& checkpoint, const FactoredMatrix& matrix,
                                              std::span<const TensorInfo* const> factors) {
  if (factors.size() < 2)
    return fail(ErrorCode::kCorrupt, "the matrix " + matrix.name + " in row groups has " +
                                         std::to_string(factors.size()) + " factors, expected 2 or more");
  const auto groups = factors.first(factors.size() - 1);
  KINGLET_TRY(std::vector<Place> places, read_places(checkpoint, matrix, groups, *factors.back()));
  std::vector<std::unique_ptr<Linear>> linears;
  for (const TensorInfo* group : groups) {
    KINGLET_TRY(linears.emplace_back(), make_linear(checkpoint, *group));
  }
  return std::make_unique<RowGroupsLinear>(std::move(linears), std::move(places));
}

}  // namespace

extern const LinearDescriptor linear_row_groups = {
    .name = "row_groups",
    .paper = "",
    .help = "rows in groups, each of its own type, for embeddings that are looked up",
    .codec = kRowGroupsCodec,
    .make_factored = make_factored,
    .factor_form = FactorForm::kRows,
};

}  // namespace kinglet
