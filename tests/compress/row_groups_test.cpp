// Matrices whose rows lie in groups of different types: every row has its group's values, and files that contradict
// themselves are errors.
#include <gtest/gtest.h>

#include <cmath>

#include "compress/memory_checkpoint.h"
#include "compress/workbench.h"
#include "kinglet/factors.h"
#include "model/row_groups_format.h"

namespace kinglet {
namespace {

constexpr const char* kName = "token_embd.weight";
constexpr std::int64_t kRows = 40, kColumns = 64;

struct Parts {
  std::vector<std::byte> map;
  std::vector<std::string> types = {"F32", "K3", "Q8_0"};
  std::int64_t more = 0;  ///< rows of the first group beyond its share
};

/// Groups whose rows interleave.
Parts parts() {
  Parts parts;
  for (int r = 0; r < kRows; ++r) parts.map.push_back(static_cast<std::byte>((r * 7 + r / 5) % 3));
  return parts;
}

struct Grouped {
  std::unique_ptr<MemoryCheckpoint> checkpoint;
  std::vector<std::vector<float>> rows{kRows};  ///< as the groups' types keep them
};

Grouped make(const Parts& parts) {
  Metadata metadata;
  const FactoredMatrix entry{std::string(kRowGroupsCodec), kName, kRows, kColumns};
  set_factored_matrices(metadata, {&entry, 1});
  Grouped made{std::make_unique<MemoryCheckpoint>(metadata)};
  int group = 0;
  for (const std::string& name : parts.types) {
    const BlockType& type = *fitting_block_type(*find_block_type(name), kColumns);
    std::vector<float> values;
    std::vector<std::size_t> ids;
    for (std::size_t r = 0; r < parts.map.size(); ++r) {
      if (parts.map[r] != static_cast<std::byte>(group)) continue;
      ids.push_back(r);
      for (int c = 0; c < kColumns; ++c) values.push_back(std::sin(static_cast<float>(r * kColumns) + 1.3f * c));
    }
    if (group == 0) values.resize(values.size() + static_cast<std::size_t>(parts.more * kColumns));
    std::vector<std::byte> bytes(type.row_bytes(values.size()));
    const std::size_t blocks = values.size() / static_cast<std::size_t>(type.block_values);
    type.encode(values.data(), blocks, nullptr, bytes.data());
    type.decode(bytes.data(), blocks, values.data());
    for (std::size_t i = 0; i < ids.size(); ++i) {
      const auto first = values.begin() + static_cast<std::ptrdiff_t>(i) * kColumns;
      if (ids[i] < made.rows.size()) made.rows[ids[i]].assign(first, first + kColumns);
    }
    const auto count = static_cast<std::int64_t>(values.size()) / kColumns;
    made.checkpoint->add(entry.factor(group++), type, {count, kColumns}, own_bytes(std::move(bytes)));
  }
  const auto length = static_cast<std::int64_t>(parts.map.size());
  made.checkpoint->add(entry.factor(group), *find_block_type("I8"), {length}, own_bytes(parts.map));
  return made;
}

TEST(RowGroups, EveryRowHasItsGroupsValues) {
  const Grouped made = make(parts());
  const auto packed = pack_matrix(*made.checkpoint, kName);
  ASSERT_TRUE(packed) << packed.error().text();
  const Linear& linear = *(*packed)->linear;
  ASSERT_EQ(linear.outputs(), kRows);
  ASSERT_EQ(linear.inputs(), kColumns);
  const std::vector<std::int32_t> ids = {39, 0, 7, 7, 21, 38, 1};
  std::vector<float> out(ids.size() * kColumns);
  linear.gather(ids, out.data());
  for (std::size_t i = 0; i < ids.size(); ++i) {
    const std::vector<float>& row = made.rows[static_cast<std::size_t>(ids[i])];
    EXPECT_EQ(std::vector(out.begin() + static_cast<std::ptrdiff_t>(i) * kColumns,
                          out.begin() + static_cast<std::ptrdiff_t>(i + 1) * kColumns),
              row)
        << ids[i];
  }
}

TEST(RowGroups, MultipliesInTheMatrixsOrder) {
  const Grouped made = make(parts());
  const auto packed = pack_matrix(*made.checkpoint, kName);
  ASSERT_TRUE(packed) << packed.error().text();
  const Linear& linear = *(*packed)->linear;
  ASSERT_EQ(linear.input_format(), InputFormat::kFloat32);
  std::vector<float> x(2 * kColumns), y(2 * kRows, -9);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = std::cos(static_cast<float>(i));
  const LinearInput input{.values = x.data(), .value_stride = kColumns, .rows = 2};
  for (const TileRange tiles : {TileRange{0, 1}, TileRange{1, 3}}) linear.multiply(0, input, tiles, y.data(), kRows);
  for (std::size_t r = 0; r < 2; ++r) {
    for (std::size_t o = 0; o < kRows; ++o) {
      double sum = 0;
      for (std::size_t c = 0; c < kColumns; ++c) sum += static_cast<double>(made.rows[o][c]) * x[r * kColumns + c];
      EXPECT_NEAR(y[r * kRows + o], sum, 1e-5);
    }
  }
}

TEST(RowGroups, WhatDoesNotFitIsAnError) {
  const auto refused = [](const Parts& parts, const char* why) {
    const auto made = make(parts);
    const auto linear = make_linear(*made.checkpoint, std::string_view(kName));
    ASSERT_FALSE(linear) << why;
    EXPECT_EQ(linear.error().code, ErrorCode::kCorrupt) << why;
  };
  Parts bad = parts();
  bad.map[3] = static_cast<std::byte>(3);
  refused(bad, "a group that does not exist");
  bad.map[3] = static_cast<std::byte>(255);
  refused(bad, "a negative group");
  bad = parts();
  bad.map.pop_back();
  refused(bad, "too few rows");
  bad = parts();
  bad.map.push_back(static_cast<std::byte>(0));
  refused(bad, "too many rows");
  bad = parts();
  bad.more = 1;
  refused(bad, "a row that nothing names");
  bad = parts();
  bad.types = {};
  refused(bad, "no group");
}

}  // namespace
}  // namespace kinglet
