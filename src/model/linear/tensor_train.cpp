// Matrices stored as tensor trains (model/tensor_train.h; CompactifAI, arXiv 2401.14109): multiplied site by site where
// that is less work than the dense matrix, and spread out once, while the model is loaded, where it is not.
#include <algorithm>
#include <array>
#include <cmath>
#include <memory>
#include <utility>
#include <vector>

#include "base/aligned_memory.h"
#include "base/try.h"
#include "kinglet/linear.h"
#include "model/packed_linear.h"
#include "model/tensor_train.h"

namespace kinglet {
namespace {

/// A few small tensors may claim to be a huge matrix, and chains of three sites need memory of its order.
constexpr std::int64_t kMostElements = std::int64_t{1} << 30;

/// How many products of the sites, one row at a time, take as long as one of the dense matrix as it would be kept: a
/// dense f16 matrix has to come from memory, one of q8_0 is half as large and multiplied in integers
/// (docs/tensor-train.md has the measurement). Constants, so that a model's arithmetic does not depend on the machine.
double site_cost(const BlockType& dense) { return dense.form.bits > 0 ? 6 : 1; }

/// A train as two sites, the second all but the first: head[p_1, q_1, c] and tail[c, p, q].
struct Halves {
  std::int64_t head_outputs = 0, head_inputs = 0, bond = 0, tail_outputs = 0, tail_inputs = 0;
  std::vector<float> head, tail;
};

/// Site [left * right, o * i] before a tail [right, O * I]: [left, (o O) * (i I)].
std::vector<float> joined(const TrainShape& shape, int s, const std::vector<float>& site, const Halves& tail) {
  const std::int64_t left = shape.bonds[std::size_t(s)], right = shape.bonds[std::size_t(s) + 1];
  const std::int64_t o = shape.outputs[std::size_t(s)], i = shape.inputs[std::size_t(s)];
  const std::int64_t width = i * tail.tail_inputs;
  std::vector<float> result(std::size_t(left * o * tail.tail_outputs * width), 0.0f);
  for (std::int64_t c = 0; c < left; ++c)
    for (std::int64_t d = 0; d < right; ++d)
      for (std::int64_t p = 0; p < o; ++p)
        for (std::int64_t q = 0; q < i; ++q) {
          const float factor = site[std::size_t(((c * right + d) * o + p) * i + q)];
          for (std::int64_t tp = 0; tp < tail.tail_outputs; ++tp) {
            const float* from = tail.tail.data() + (d * tail.tail_outputs + tp) * tail.tail_inputs;
            float* to = result.data() + ((c * o + p) * tail.tail_outputs + tp) * width + q * tail.tail_inputs;
            for (std::int64_t k = 0; k < tail.tail_inputs; ++k) to[k] += factor * from[k];
          }
        }
  return result;
}

std::shared_ptr<const Halves> halve(const TrainShape& shape, std::vector<std::vector<float>> sites) {
  auto halves = std::make_shared<Halves>();
  int s = shape.sites() - 1;
  halves->tail_outputs = shape.outputs[std::size_t(s)];
  halves->tail_inputs = shape.inputs[std::size_t(s)];
  halves->tail = std::move(sites[std::size_t(s)]);
  for (--s; s > 0; --s) {
    halves->tail = joined(shape, s, sites[std::size_t(s)], *halves);
    halves->tail_outputs *= shape.outputs[std::size_t(s)];
    halves->tail_inputs *= shape.inputs[std::size_t(s)];
  }
  halves->bond = shape.bonds[1];
  halves->head_outputs = shape.outputs[0];
  halves->head_inputs = shape.inputs[0];
  const std::int64_t pairs = shape.columns(0);
  halves->head.resize(sites[0].size());
  for (std::int64_t c = 0; c < halves->bond; ++c)
    for (std::int64_t x = 0; x < pairs; ++x)
      halves->head[std::size_t(x * halves->bond + c)] = sites[0][std::size_t(c * pairs + x)];
  return halves;
}

/// Rows of the dense matrix: head times tail, by the kernels.
class DenseRows {
 public:
  static Result<std::shared_ptr<const DenseRows>> make(std::shared_ptr<const Halves> halves) {
    auto rows = std::shared_ptr<DenseRows>(new DenseRows(std::move(halves)));
    const Halves& h = *rows->halves_;
    const std::int64_t pairs = h.tail_outputs * h.tail_inputs;
    const auto plan = plan_packing(*find_block_type("F32"), pairs, h.bond);
    if (!plan) return fail(ErrorCode::kInternal, "a tensor train cannot be packed");
    rows->plan_ = *plan;
    std::vector<float> turned(h.tail.size());
    for (std::int64_t c = 0; c < h.bond; ++c)
      for (std::int64_t x = 0; x < pairs; ++x) turned[std::size_t(x * h.bond + c)] = h.tail[std::size_t(c * pairs + x)];
    KINGLET_TRY(rows->tiles_, AlignedMemory::allocate(std::size_t(plan->tiles()) * plan->tile_bytes));
    pack_tiles(*plan, reinterpret_cast<const std::byte*>(turned.data()), 0, plan->tiles(), rows->tiles_.data());
    return std::shared_ptr<const DenseRows>(std::move(rows));
  }

  void operator()(std::int64_t first, int count, float* out) const {
    const Halves& h = *halves_;
    const std::int64_t inputs = h.head_inputs * h.tail_inputs;
    std::vector<float> product;
    for (std::int64_t row = first; row < first + count;) {
      const std::int64_t p = row / h.tail_outputs, begin = row % h.tail_outputs;
      const std::int64_t end = std::min(h.tail_outputs, begin + first + count - row);
      // Whole tiles around the values of these rows.
      const std::int64_t tile = begin * h.tail_inputs / kTileRows;
      const std::int64_t last = std::min(plan_.tiles(), (end * h.tail_inputs + kTileRows - 1) / kTileRows);
      const std::int64_t width = std::min(last * kTileRows, plan_.outputs) - tile * kTileRows;
      product.resize(std::size_t(h.head_inputs * width));
      const LinearInput x{.values = h.head.data() + p * h.head_inputs * h.bond,
                          .value_stride = std::size_t(h.bond),
                          .rows = int(h.head_inputs)};
      multiply_tiles(plan_, tiles_.data() + std::size_t(tile) * plan_.tile_bytes, int(last - tile), int(width), x,
                     product.data(), std::size_t(width));
      for (std::int64_t r = begin; r < end; ++r, ++row)
        for (std::int64_t q = 0; q < h.head_inputs; ++q)
          std::copy_n(product.data() + q * width + r * h.tail_inputs - tile * kTileRows, h.tail_inputs,
                      out + (row - first) * inputs + q * h.tail_inputs);
    }
  }

 private:
  explicit DenseRows(std::shared_ptr<const Halves> halves) : halves_(std::move(halves)) {}
  std::shared_ptr<const Halves> halves_;
  PackPlan plan_;
  AlignedMemory tiles_;
};

/// Two sites, multiplied one after the other. Stage 0: inner[q_1][p_2, c] = sum over q_2 of tail[c, p_2, q_2] x[q_1,
/// q_2]; stage 1: y[p_1, p_2] = sum over (q_1, c) of head[p_1, q_1, c] inner[q_1][p_2, c].
class TrainLinear final : public Linear {
 public:
  TrainLinear(const Halves& halves, std::unique_ptr<Linear> tail, std::unique_ptr<Linear> head)
      : outputs_(halves.head_outputs * halves.tail_outputs),
        inputs_(halves.head_inputs * halves.tail_inputs),
        head_inputs_(halves.head_inputs),
        tail_outputs_(halves.tail_outputs),
        tail_inputs_(halves.tail_inputs),
        bond_(halves.bond),
        parts_{std::move(tail), std::move(head)} {}

  std::int64_t outputs() const override { return outputs_; }
  std::int64_t inputs() const override { return inputs_; }
  InputFormat input_format() const override { return InputFormat::kFloat32; }
  std::uint64_t bytes() const override { return parts_[0]->bytes() + parts_[1]->bytes(); }
  int stages() const override { return 2; }
  std::int64_t inner_outputs(int) const override { return head_inputs_ * inner_width(); }
  std::span<const std::unique_ptr<Linear>> parts() const override { return parts_; }

  void multiply(int stage, const LinearInput& x, TileRange range, float* y, std::size_t stride) const override {
    if (range.begin >= range.end) return;
    stage == 0 ? multiply_tail(x, range, y, stride) : multiply_head(x, range, y, stride);
  }

  void gather(std::span<const std::int32_t> ids, float* out) const override {
    std::vector<float> head(std::size_t(head_inputs_ * bond_)), tail(std::size_t(bond_ * tail_inputs_));
    std::vector<std::int32_t> rows(static_cast<std::size_t>(bond_));
    std::fill_n(out, ids.size() * std::size_t(inputs_), 0.0f);
    for (std::size_t i = 0; i < ids.size(); ++i, out += inputs_) {
      const auto p = std::int32_t(ids[i] / tail_outputs_);
      for (std::int64_t c = 0; c < bond_; ++c) rows[std::size_t(c)] = std::int32_t(ids[i] % tail_outputs_ * bond_ + c);
      parts_[1]->gather({&p, 1}, head.data());
      parts_[0]->gather(rows, tail.data());
      for (std::int64_t q = 0; q < head_inputs_; ++q)
        for (std::int64_t c = 0; c < bond_; ++c)
          for (std::int64_t k = 0; k < tail_inputs_; ++k)
            out[q * tail_inputs_ + k] += head[std::size_t(q * bond_ + c)] * tail[std::size_t(c * tail_inputs_ + k)];
    }
  }

  // Its parts are packed instead.
  std::size_t packed_bytes(TileRange) const override { return 0; }
  void pack(TileRange, std::byte*) const override {}
  void adopt(std::span<const Share>) override {}

 private:
  std::int64_t inner_width() const { return tail_outputs_ * bond_; }

  /// A tile of the range is one tile of the tail for one q_1; those of one tile of the tail are next to each other.
  void multiply_tail(const LinearInput& x, TileRange range, float* y, std::size_t stride) const {
    for (std::int64_t t = range.begin; t < range.end;) {
      const std::int64_t tile = t / head_inputs_, begin = t % head_inputs_;
      const std::int64_t end = std::min(head_inputs_, begin + range.end - t);
      for (int row = 0; row < x.rows; ++row) {
        const LinearInput part{.values = x.values + std::size_t(row) * x.value_stride + begin * tail_inputs_,
                               .value_stride = std::size_t(tail_inputs_),
                               .rows = int(end - begin)};
        parts_[0]->multiply(0, part, {tile, tile + 1}, y + std::size_t(row) * stride + begin * inner_width(),
                            std::size_t(inner_width()));
      }
      t += end - begin;
    }
  }

  void multiply_head(const LinearInput& x, TileRange range, float* y, std::size_t stride) const {
    static thread_local std::vector<float> turned, product;  // no allocation once they are large enough
    const std::int64_t first = range.begin * kTileRows, past = std::min(range.end * kTileRows, outputs_);
    const std::int64_t tile = first / tail_outputs_ / kTileRows;
    const std::int64_t tile_end = ((past - 1) / tail_outputs_) / kTileRows + 1;
    const std::int64_t width = parts_[1]->outputs(), inputs = head_inputs_ * bond_;
    turned.resize(std::size_t(tail_outputs_ * inputs));
    product.resize(std::size_t(tail_outputs_ * width));
    for (int row = 0; row < x.rows; ++row) {
      const float* from = x.values + std::size_t(row) * x.value_stride;
      for (std::int64_t q = 0; q < head_inputs_; ++q)
        for (std::int64_t p = 0; p < tail_outputs_; ++p)
          std::copy_n(from + q * inner_width() + p * bond_, bond_, turned.data() + p * inputs + q * bond_);
      const LinearInput part{.values = turned.data(), .value_stride = std::size_t(inputs), .rows = int(tail_outputs_)};
      parts_[1]->multiply(0, part, {tile, tile_end}, product.data(), std::size_t(width));
      float* to = y + std::size_t(row) * stride;
      for (std::int64_t o = first; o < past; ++o)
        to[o] = product[std::size_t(o % tail_outputs_ * width + o / tail_outputs_)];
    }
  }

  std::int64_t outputs_, inputs_, head_inputs_, tail_outputs_, tail_inputs_, bond_;
  std::array<std::unique_ptr<Linear>, 2> parts_;
};

/// What a train is kept as: f32 where it is stored so, f16 otherwise; spread out from block types, which are coarser,
/// q8_0.
const BlockType& kept_type(std::span<const TensorInfo* const> factors, std::int64_t inputs, bool dense) {
  double bits = 0;
  for (const TensorInfo* factor : factors) bits = std::max(bits, factor->type->bits_per_weight());
  const BlockType& f16 = *find_block_type("F16");
  if (bits >= 32) return *find_block_type("F32");
  const BlockType* q8 = fitting_block_type(*find_block_type("Q8_0"), inputs);
  return bits < 16 && dense && q8 != nullptr ? *q8 : f16;
}

Result<std::unique_ptr<Linear>> make_train(const TrainShape& shape, std::shared_ptr<const Halves> halves,
                                           std::span<const TensorInfo* const> factors, const FactoredMatrix& matrix) {
  const bool fits = shape.sites() == 2 && halves->tail_outputs * halves->bond % kTileRows == 0;
  const BlockType& spread = kept_type(factors, matrix.inputs, true);
  const double dense = static_cast<double>(matrix.outputs) * static_cast<double>(matrix.inputs);
  if (!fits || static_cast<double>(shape.products()) * site_cost(spread) > dense) {
    KINGLET_TRY(auto rows, DenseRows::make(halves));
    return make_computed_linear(spread, matrix.outputs, matrix.inputs,
                                [rows](std::int64_t first, int count, float* out) { (*rows)(first, count, out); });
  }
  const BlockType& type = kept_type(factors, matrix.inputs, false);
  const std::int64_t bond = halves->bond;
  KINGLET_TRY(auto tail, make_computed_linear(type, halves->tail_outputs * bond, halves->tail_inputs,
                                              [halves, bond](std::int64_t first, int count, float* out) {
                                                const std::int64_t width = halves->tail_inputs;
                                                for (std::int64_t r = first; r < first + count; ++r, out += width) {
                                                  const std::int64_t at = r % bond * halves->tail_outputs + r / bond;
                                                  std::copy_n(halves->tail.data() + at * width, width, out);
                                                }
                                              }));
  KINGLET_TRY(auto head, make_computed_linear(type, halves->head_outputs, halves->head_inputs * bond,
                                              [halves, bond](std::int64_t first, int count, float* out) {
                                                const std::int64_t width = halves->head_inputs * bond;
                                                std::copy_n(halves->head.data() + first * width, count * width, out);
                                              }));
  return std::make_unique<TrainLinear>(*halves, std::move(tail), std::move(head));
}

Result<std::vector<float>> read_site(const Checkpoint& checkpoint, const TensorInfo& factor) {
  if (factor.type->decode == nullptr)
    return fail(ErrorCode::kUnsupported, factor.name + " is stored as " + std::string(factor.type->name));
  KINGLET_TRY(const TensorData data, checkpoint.data(factor));
  std::vector<float> values(std::size_t(factor.elements()));
  factor.type->decode(data.bytes.data(), values.size() / std::size_t(factor.type->block_values), values.data());
  for (float value : values)
    if (!std::isfinite(value)) return fail(ErrorCode::kCorrupt, factor.name + " holds a value that is not finite");
  return values;
}

/// The bonds from the factors' sizes.
Result<TrainShape> shape_of(const FactoredMatrix& matrix, std::span<const TensorInfo* const> factors) {
  const auto wrong = [&] {
    return fail(ErrorCode::kCorrupt, "the sites of the tensor train " + matrix.name + " do not fit each other",
                "Site s has a row for each pair of bonds and a column for each pair of digits (docs/tensor-train.md).");
  };
  const auto count = static_cast<int>(factors.size());
  if (count < 2 || count > kMostTrainSites)
    return fail(ErrorCode::kCorrupt, "the tensor train " + matrix.name + " has " + std::to_string(count) +
                                         " sites, expected 2 to " + std::to_string(kMostTrainSites));
  auto shape = train_shape(matrix.outputs, matrix.inputs, count);
  if (!shape) return wrong();
  if (matrix.outputs > kMostElements / matrix.inputs)
    return fail(ErrorCode::kCorrupt, "the tensor train " + matrix.name + " stands for " +
                                         std::to_string(matrix.outputs) + " x " + std::to_string(matrix.inputs) +
                                         " values, which are too many");
  for (int s = 0; s < count; ++s) {
    const TensorInfo& factor = *factors[std::size_t(s)];
    const std::int64_t left = shape->bonds[std::size_t(s)];
    if (factor.shape.size() != 2 || factor.columns() != shape->columns(s) || factor.rows() % left != 0) return wrong();
    const std::int64_t right = factor.rows() / left;
    if (s + 1 == count ? right != 1 : right < 1 || right > full_bond(*shape, s)) return wrong();
    shape->bonds[std::size_t(s) + 1] = right;
  }
  return *shape;
}

Result<std::unique_ptr<Linear>> make_factored(const Checkpoint& checkpoint, const FactoredMatrix& matrix,
                                              std::span<const TensorInfo* const> factors) {
  KINGLET_TRY(const TrainShape shape, shape_of(matrix, factors));
  std::vector<std::vector<float>> sites;
  for (const TensorInfo* factor : factors) {
    KINGLET_TRY(auto values, read_site(checkpoint, *factor));
    sites.push_back(std::move(values));
  }
  return make_train(shape, halve(shape, std::move(sites)), factors, matrix);
}

}  // namespace

extern const LinearDescriptor linear_tensor_train;
const LinearDescriptor linear_tensor_train = {
    .name = "tensor_train",
    .paper = "059",
    .help = "a chain of small tensors, multiplied one by one or spread out once, whichever is less work",
    .codec = kTensorTrainCodec,
    .make_factored = make_factored,
};

}  // namespace kinglet
