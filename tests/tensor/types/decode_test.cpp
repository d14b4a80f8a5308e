#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "kinglet/block_type.h"
#include "tensor/half.h"
#include "tensor/types/block_vectors_helper.h"

namespace kinglet {
namespace {

// Bit for bit, except that any NaN equals any other.
bool same(float a, float b) {
  return (std::isnan(a) && std::isnan(b)) || std::bit_cast<std::uint32_t>(a) == std::bit_cast<std::uint32_t>(b);
}

std::vector<std::byte> random_bytes(std::size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<std::byte> bytes(count);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
  return bytes;
}

TEST(BlockTypes, AreFoundByNumberAndByNameInAnyCase) {
  const std::map<std::string, std::uint32_t> numbers = {
      {"F32", 0},   {"F16", 1},   {"Q4_0", 2},  {"Q4_1", 3},    {"Q5_0", 6},    {"Q5_1", 7}, {"Q8_0", 8},
      {"Q2_K", 10}, {"Q3_K", 11}, {"Q4_K", 12}, {"Q5_K", 13},   {"Q6_K", 14},   {"I8", 24},  {"I16", 25},
      {"I32", 26},  {"I64", 27},  {"F64", 28},  {"IQ4_NL", 20}, {"IQ4_XS", 23}, {"BF16", 30}};
  for (const auto& [name, number] : numbers) {
    const BlockType* type = find_block_type(number);
    ASSERT_NE(type, nullptr) << name;
    EXPECT_EQ(type->name, name);
    EXPECT_EQ(find_block_type(name), type);
    std::string small = name;
    for (char& c : small) c = static_cast<char>(std::tolower(c));
    EXPECT_EQ(find_block_type(small), type);
  }
  EXPECT_GE(block_types().size(), numbers.size());
  EXPECT_EQ(find_block_type("Q4"), nullptr);
  EXPECT_EQ(find_block_type(""), nullptr);
  EXPECT_EQ(find_block_type(4u), nullptr);
  EXPECT_EQ(find_block_type(~0u), nullptr);
}

TEST(BlockTypes, HaveNamesAndNumbersOfTheirOwnAndWholeDescriptors) {
  std::map<std::string_view, int> names;
  std::map<std::uint32_t, int> numbers;
  for (const BlockType* type : block_types()) {
    SCOPED_TRACE(type->name);
    EXPECT_EQ(++names[type->name], 1);
    EXPECT_EQ(++numbers[type->gguf_id], 1);
    EXPECT_GT(type->block_bytes, 0);
    ASSERT_NE(type->decode, nullptr);
    EXPECT_EQ(type->codes != nullptr, type->form.bits != 0);
    if (type->form.bits != 0) {
      EXPECT_EQ(type->block_values % type->form.group, 0);
      EXPECT_FALSE(type->form.is_signed && type->form.codebook != nullptr);
    }
    EXPECT_EQ(type->row_bytes(3 * type->block_values), 3u * type->block_bytes);
  }
}

TEST(Decode, IsBitEqualToTheReference) {
  const std::vector<BlockVectors> all = read_block_vectors();
  ASSERT_EQ(all.size(), 15u);
  for (const BlockVectors& vectors : all) {
    SCOPED_TRACE(vectors.type);
    const BlockType* type = find_block_type(vectors.type);
    ASSERT_NE(type, nullptr);
    ASSERT_EQ(static_cast<std::size_t>(type->block_bytes), vectors.block_bytes);
    ASSERT_EQ(static_cast<std::size_t>(type->block_values), vectors.block_values);
    std::vector<float> decoded(vectors.values.size());
    type->decode(vectors.data.data(), vectors.blocks, decoded.data());
    for (std::size_t i = 0; i < decoded.size(); ++i) {
      ASSERT_TRUE(same(decoded[i], vectors.values[i])) << i << ": " << decoded[i] << " for " << vectors.values[i];
    }
  }
}

TEST(Decode, EqualsScaleTimesCodeMinusMinimumForAnyBits) {
  for (const BlockType* type : block_types()) {
    if (type->codes == nullptr) continue;
    SCOPED_TRACE(type->name);
    constexpr std::size_t kBlocks = 500;
    const std::vector<std::byte> data = random_bytes(kBlocks * type->block_bytes, 7);
    const std::size_t count = kBlocks * type->block_values, groups = count / type->form.group;
    std::vector<float> values(count), scales(groups), minimums(groups, -1);
    std::vector<std::int8_t> codes(count);
    type->decode(data.data(), kBlocks, values.data());
    type->codes(data.data(), kBlocks, codes.data(), scales.data(), minimums.data());
    const int low = type->form.is_signed ? -(1 << (type->form.bits - 1)) : 0;
    const int high = low + (1 << type->form.bits) - 1;
    int lowest = 1000, highest = -1000;
    for (std::size_t i = 0; i < count; ++i) {
      lowest = std::min<int>(lowest, codes[i]);
      highest = std::max<int>(highest, codes[i]);
      const float code = type->form.codebook != nullptr ? type->form.codebook[codes[i] & (high - low)] : codes[i];
      const std::size_t group = i / type->form.group;
      float value = scales[group] * code;
      if (type->form.has_minimum) value -= minimums[group];
      ASSERT_TRUE(same(value, values[i])) << i;
    }
    if (type->form.trellis == nullptr) {
      EXPECT_EQ(lowest, low);
      EXPECT_EQ(highest, high);
    }
    if (!type->form.has_minimum) {
      EXPECT_EQ(minimums[0], 0);
      type->codes(data.data(), kBlocks, codes.data(), scales.data(), nullptr);
    }
  }
}

TEST(Decode, ScalesHaveTheFormThatTheDescriptorNames) {
  for (const BlockType* type : block_types()) {
    if (type->codes == nullptr) continue;
    SCOPED_TRACE(type->name);
    EXPECT_EQ(type->multiples != nullptr, type->form.scales == ScaleForm::kMultiples);
    constexpr std::size_t kBlocks = 300;
    const std::vector<std::byte> data = random_bytes(kBlocks * type->block_bytes, 13);
    const std::size_t count = kBlocks * type->block_values, groups = count / type->form.group;
    std::vector<float> scales(groups), minimums(groups), units(kBlocks), minimum_units(kBlocks);
    std::vector<std::int8_t> codes(count), multiples(groups), minimum_multiples(groups);
    type->codes(data.data(), kBlocks, codes.data(), scales.data(), minimums.data());
    if (type->form.scales == ScaleForm::kFloat16) {
      for (std::size_t g = 0; g < groups; ++g) {
        ASSERT_TRUE(same(scales[g], f16_to_f32(f32_to_f16(scales[g]))));
        ASSERT_TRUE(same(minimums[g], f16_to_f32(f32_to_f16(minimums[g]))));
      }
    }
    if (type->multiples == nullptr) continue;
    type->multiples(data.data(), kBlocks, units.data(), minimum_units.data(), multiples.data(),
                    minimum_multiples.data());
    const std::size_t per_block = groups / kBlocks;
    for (std::size_t g = 0; g < groups; ++g) {
      ASSERT_TRUE(same(scales[g], units[g / per_block] * static_cast<float>(multiples[g]))) << g;
      if (!type->form.has_minimum) continue;
      ASSERT_TRUE(same(minimums[g], minimum_units[g / per_block] * static_cast<float>(minimum_multiples[g]))) << g;
    }
    std::vector<float> alone(kBlocks);
    type->multiples(data.data(), kBlocks, alone.data(), nullptr, multiples.data(), nullptr);
    EXPECT_EQ(std::memcmp(alone.data(), units.data(), kBlocks * sizeof(float)), 0);
  }
}

TEST(Decode, OfSeveralBlocksIsThatOfEach) {
  for (const BlockType* type : block_types()) {
    SCOPED_TRACE(type->name);
    const std::vector<std::byte> data = random_bytes(5 * type->block_bytes, 11);
    std::vector<float> together(5 * type->block_values), single(type->block_values);
    type->decode(data.data(), 5, together.data());
    for (int block = 0; block < 5; ++block) {
      type->decode(data.data() + block * type->block_bytes, 1, single.data());
      for (int i = 0; i < type->block_values; ++i)
        ASSERT_TRUE(same(single[i], together[block * type->block_values + i]));
    }
  }
}

}  // namespace
}  // namespace kinglet
