// A matrix as the product of two thin ones (Greenformers, arXiv 2108.10808: "LED"): y = D (E x), E [rank, inputs] the
// factor 0, D [outputs, rank] the factor 1, each stored in any type.
#include <algorithm>
#include <array>
#include <string>
#include <utility>
#include <vector>

#include "base/try.h"
#include "kinglet/linear.h"

namespace kinglet {
namespace {

class LowRankLinear final : public Linear {
 public:
  LowRankLinear(std::unique_ptr<Linear> encoder, std::unique_ptr<Linear> decoder)
      : parts_{std::move(encoder), std::move(decoder)} {}

  std::int64_t outputs() const override { return parts_[1]->outputs(); }
  std::int64_t inputs() const override { return parts_[0]->inputs(); }
  InputFormat input_format() const override { return parts_[0]->input_format(); }
  std::uint64_t bytes() const override { return parts_[0]->bytes() + parts_[1]->bytes(); }

  int stages() const override { return 2; }
  std::int64_t inner_outputs(int) const override { return parts_[0]->outputs(); }
  InputFormat stage_format(int stage) const override { return parts_[std::size_t(stage)]->input_format(); }
  std::span<const std::unique_ptr<Linear>> parts() const override { return parts_; }

  void multiply(int stage, const LinearInput& x, TileRange tiles, float* y, std::size_t stride) const override {
    parts_[std::size_t(stage)]->multiply(0, x, tiles, y, stride);
  }

  void gather(std::span<const std::int32_t> ids, float* out) const override {
    const auto rank = std::size_t(parts_[0]->outputs()), columns = std::size_t(inputs());
    std::vector<float> codes(ids.size() * rank), row(columns);
    parts_[1]->gather(ids, codes.data());
    std::fill_n(out, ids.size() * columns, 0.0f);
    for (std::size_t k = 0; k < rank; ++k) {
      const auto index = std::int32_t(k);
      parts_[0]->gather({&index, 1}, row.data());
      for (std::size_t i = 0; i < ids.size(); ++i) {
        for (std::size_t c = 0; c < columns; ++c) out[i * columns + c] += codes[i * rank + k] * row[c];
      }
    }
  }

  // Its parts are packed instead.
  std::size_t packed_bytes(TileRange) const override { return 0; }
  void pack(TileRange, std::byte*) const override {}
  void adopt(std::span<const Share>) override {}

 private:
  std::array<std::unique_ptr<Linear>, 2> parts_;
};

Result<std::unique_ptr<Linear>> make_factored(const Checkpoint& checkpoint, const FactoredMatrix& matrix,
                                              std::span<const TensorInfo* const> factors) {
  if (factors.size() != 2) {
    return fail(ErrorCode::kCorrupt, "the low-rank matrix " + matrix.name + " has " + std::to_string(factors.size()) +
                                         " factors, expected 2");
  }
  if (factors[0]->shape.size() != 2 || factors[1]->shape.size() != 2 || factors[0]->rows() != factors[1]->columns()) {
    return fail(ErrorCode::kCorrupt, "the factors of " + matrix.name + " do not fit each other",
                "The rows of the first are the columns of the second.");
  }
  KINGLET_TRY(auto encoder, make_linear(checkpoint, *factors[0]));
  KINGLET_TRY(auto decoder, make_linear(checkpoint, *factors[1]));
  return std::make_unique<LowRankLinear>(std::move(encoder), std::move(decoder));
}

}  // namespace

extern const LinearDescriptor linear_lowrank = {
    .name = "lowrank",
    .paper = "043",
    .help = "the product of two thin matrices, each of any type",
    .codec = kLowRankCodec,
    .make_factored = make_factored,
    .factor_form = FactorForm::kProduct,
};

}  // namespace kinglet
