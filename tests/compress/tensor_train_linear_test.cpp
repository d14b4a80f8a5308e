// Matrices that are stored as tensor trains: both ways to multiply give the dense matrix's answers, with the same bits
// for any threads, and files that contradict themselves are errors.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <random>

#include "base/aligned_memory.h"
#include "base/thread_pool.h"
#include "compress/memory_checkpoint.h"
#include "kinglet/factors.h"
#include "kinglet/linear.h"
#include "model/tensor_train.h"

namespace kinglet {
namespace {

using Floats = std::vector<float>;
constexpr const char* kName = "blk.0.ffn_up.weight";

Floats random_values(std::size_t count, std::uint32_t seed) {
  std::mt19937 random(seed);
  Floats values(count);
  for (float& value : values) value = static_cast<float>(random() / 4294967296.0 - 0.5);
  return values;
}

void add_tensor(MemoryCheckpoint& to, const std::string& name, std::vector<std::int64_t> shape, const Floats& values,
                std::string_view type = "F32") {
  const BlockType& block = *find_block_type(type);
  std::vector<std::byte> bytes(block.row_bytes(values.size()));
  block.encode(values.data(), values.size() / static_cast<std::size_t>(block.block_values), nullptr, bytes.data());
  to.add(name, block, std::move(shape), own_bytes(std::move(bytes)));
}

struct Train {
  TrainShape shape;
  std::vector<Floats> sites;
  std::unique_ptr<MemoryCheckpoint> checkpoint;
  std::int64_t outputs, inputs;
};

Metadata listing(std::int64_t outputs, std::int64_t inputs) {
  Metadata metadata;
  const FactoredMatrix entry{std::string(kTensorTrainCodec), kName, outputs, inputs};
  set_factored_matrices(metadata, {&entry, 1});
  return metadata;
}

Train make_train(std::int64_t outputs, std::int64_t inputs, std::vector<std::int64_t> bonds, std::string_view type) {
  Train train{*train_shape(outputs, inputs, static_cast<int>(bonds.size()) - 1), {}, nullptr, outputs, inputs};
  train.shape.bonds = std::move(bonds);
  train.checkpoint = std::make_unique<MemoryCheckpoint>(listing(outputs, inputs));
  for (int s = 0; s < train.shape.sites(); ++s) {
    const std::int64_t rows = train.shape.rows(s), columns = train.shape.columns(s);
    Floats values = random_values(static_cast<std::size_t>(rows * columns), 7 + static_cast<std::uint32_t>(s));
    add_tensor(*train.checkpoint, kName + std::string(".") + std::to_string(s), {rows, columns}, values, type);
    const TensorInfo& info = train.checkpoint->tensors().back();
    info.type->decode(train.checkpoint->data(info)->bytes.data(),
                      values.size() / static_cast<std::size_t>(info.type->block_values), values.data());
    train.sites.push_back(std::move(values));
  }
  return train;
}

/// A matrix with its parts packed, in `shares` pieces as so many threads would do it.
struct Packed {
  std::unique_ptr<Linear> linear;
  std::vector<AlignedMemory> memory;

  Packed(const Checkpoint& checkpoint, int shares) {
    auto made = make_linear(checkpoint, std::string_view(kName));
    EXPECT_TRUE(made) << made.error().text();
    linear = std::move(*made);
    for (Linear* part : packed_parts(*linear)) {
      std::vector<Linear::Share> list;
      for (int s = 0; s < shares; ++s) {
        const TileRange range{part->tiles() * s / shares, part->tiles() * (s + 1) / shares};
        memory.push_back(*AlignedMemory::allocate(part->packed_bytes(range) + 64));
        part->pack(range, memory.back().data());
        list.push_back({range, memory.back().data()});
      }
      part->adopt(list);
    }
  }

  /// y for rows of x, as the engine runs it with `shares` threads; floats only.
  Floats multiply(const Floats& x, int rows, int shares) const {
    Floats inner, y(static_cast<std::size_t>(rows * linear->outputs()), -9.0f);
    LinearInput input{.values = x.data(), .value_stride = std::size_t(linear->inputs()), .rows = rows};
    if (linear->stages() == 2) {
      const std::int64_t width = linear->inner_outputs(0), tiles = (width + kTileRows - 1) / kTileRows;
      inner.resize(static_cast<std::size_t>(rows * width));
      for (int s = 0; s < shares; ++s)
        linear->multiply(0, input, {tiles * s / shares, tiles * (s + 1) / shares}, inner.data(), std::size_t(width));
      input = {.values = inner.data(), .value_stride = std::size_t(width), .rows = rows};
    }
    const std::int64_t tiles = linear->tiles();
    for (int s = 0; s < shares; ++s)
      linear->multiply(linear->stages() - 1, input, {tiles * s / shares, tiles * (s + 1) / shares}, y.data(),
                       std::size_t(linear->outputs()));
    return y;
  }
};

void expect_dense_answers(const Train& train, int stages) {
  const Packed one(*train.checkpoint, 1), three(*train.checkpoint, 3);
  ASSERT_EQ(one.linear->stages(), stages);
  EXPECT_EQ(one.linear->outputs(), train.outputs);
  EXPECT_EQ(one.linear->inputs(), train.inputs);
  const int rows = 5;
  const Floats x = random_values(static_cast<std::size_t>(rows * train.inputs), 3);
  const Floats y = one.multiply(x, rows, 1);
  EXPECT_EQ(y, three.multiply(x, rows, 3)) << "threads";
  EXPECT_EQ(Floats(y.begin(), y.begin() + train.outputs), three.multiply(x, 1, 2)) << "rows";
  Floats row(static_cast<std::size_t>(train.inputs)), gathered(row.size());
  double size = 0, off = 0, row_off = 0;
  for (std::int64_t o = 0; o < train.outputs; ++o) {
    train_row(train.shape, train.sites, o, row.data());
    const auto id = static_cast<std::int32_t>(o);
    one.linear->gather({&id, 1}, gathered.data());
    for (std::size_t i = 0; i < row.size(); ++i) row_off = std::max(row_off, std::fabs(double(row[i]) - gathered[i]));
    for (int r = 0; r < rows; ++r) {
      double sum = 0;
      for (std::size_t i = 0; i < row.size(); ++i) sum += double(row[i]) * x[std::size_t(r) * row.size() + i];
      size = std::max(size, std::fabs(sum));
      off = std::max(off, std::fabs(sum - y[std::size_t(r * train.outputs + o)]));
    }
  }
  EXPECT_LT(off, 1e-4 * size);
  EXPECT_LT(row_off, 1e-4);
  EXPECT_GT(size, 0.1);
}

TEST(TensorTrainLinear, ShortChainsAreMultipliedSiteBySite) {
  expect_dense_answers(make_train(144, 96, {1, 4, 1}, "F32"), 2);
  expect_dense_answers(make_train(576, 1536, {1, 2, 1}, "F32"), 2);
  expect_dense_answers(make_train(256, 64, {1, 1, 1}, "F32"), 2);
}

TEST(TensorTrainLinear, LongOnesAreSpreadOut) {
  expect_dense_answers(make_train(144, 96, {1, 60, 1}, "F32"), 1);
  expect_dense_answers(make_train(60, 96, {1, 3, 1}, "F32"), 1);  // 10 * 3 inner values are no whole tiles
  expect_dense_answers(make_train(216, 216, {1, 20, 9, 1}, "F32"), 1);
  expect_dense_answers(make_train(240, 144, {1, 5, 12, 7, 1}, "F32"), 1);
}

TEST(TensorTrainLinear, KeepsTheStoredPrecision) {
  const auto bytes = [](std::vector<std::int64_t> bonds, std::string_view type) {
    const Train train = make_train(256, 256, std::move(bonds), type);
    return Packed(*train.checkpoint, 1).linear->bytes();
  };
  EXPECT_EQ(bytes({1, 200, 1}, "F32"), 256u * 256 * 4);
  EXPECT_EQ(bytes({1, 200, 1}, "F16"), 256u * 256 * 2);
  EXPECT_EQ(bytes({1, 200, 1}, "Q4_0"), 256u * 256 * 34 / 32);
  EXPECT_EQ(bytes({1, 2, 1}, "F16"), 2u * (256 + 256) * 2);
  EXPECT_EQ(bytes({1, 1, 1}, "Q8_0"), (256u + 256) * 2) << "an eighth of the products";
  EXPECT_EQ(bytes({1, 2, 1}, "Q8_0"), 256u * 256 * 34 / 32) << "a quarter is slower than q8_0";
}

void expect_error(const std::function<std::unique_ptr<MemoryCheckpoint>()>& make, std::string_view word) {
  const auto checkpoint = make();
  const auto linear = make_linear(*checkpoint, std::string_view(kName));
  ASSERT_FALSE(linear) << word;
  EXPECT_EQ(linear.error().code, ErrorCode::kCorrupt) << linear.error().text();
  EXPECT_NE(linear.error().text().find(word), std::string::npos) << linear.error().text();
}

TEST(TensorTrainLinear, RefusesSitesThatDoNotFit) {
  const auto with = [](std::int64_t outputs, std::int64_t inputs, std::vector<std::vector<std::int64_t>> shapes,
                       float value = 0.5f) {
    return [=] {
      auto checkpoint = std::make_unique<MemoryCheckpoint>(listing(outputs, inputs));
      for (std::size_t s = 0; s < shapes.size(); ++s) {
        std::int64_t count = 1;
        for (std::int64_t size : shapes[s]) count *= size;
        add_tensor(*checkpoint, kName + std::string(".") + std::to_string(s), shapes[s],
                   Floats(static_cast<std::size_t>(count), value));
      }
      return checkpoint;
    };
  };
  // 144 = 12 * 12, 96 = 8 * 12: sites of 96 and 144 columns.
  expect_error(with(144, 96, {}), "has 0 sites");
  expect_error(with(144, 96, {{3, 96}}), "has 1 sites");
  expect_error(with(144, 96, {{3, 96}, {9, 10}, {9, 10}, {9, 10}, {3, 10}}), "has 5 sites");
  expect_error(with(144, 96, {{3, 95}, {3, 144}}), "do not fit");
  expect_error(with(144, 96, {{3, 96}, {4, 144}}), "do not fit");
  expect_error(with(144, 96, {{3, 96}, {6, 144}}), "do not fit");
  expect_error(with(144, 96, {{97, 96}, {97, 144}}), "do not fit");
  expect_error(with(144, 96, {{3, 96}, {3, 12, 12}}), "do not fit");
  expect_error(with(139, 96, {{3, 96}, {3, 144}}), "do not fit");
  expect_error(with(1 << 24, 1 << 24, {{1, 1}, {1, 1}, {1, 1}}), "too many");
  expect_error(with(std::int64_t{1} << 40, 96, {{1, 1}, {1, 1}}), "do not fit");
  expect_error(with(144, 96, {{3, 96}, {3, 144}}, NAN), "not finite");
  expect_error(with(144, 96, {{3, 96}, {3, 144}}, INFINITY), "not finite");
}

}  // namespace
}  // namespace kinglet
