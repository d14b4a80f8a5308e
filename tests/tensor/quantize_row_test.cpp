// Activations rounded to int8.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "tensor/kernels/matmul.h"
#include "tensor/kernels/matmul_kernels.h"

namespace kinglet {
namespace {

std::vector<float> random_row(std::size_t columns, unsigned seed, float size) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(columns);
  for (float& value : values) value = normal(random) * size;
  return values;
}

QuantizedBlock quantize(const std::vector<float>& values) {
  QuantizedBlock block;
  quantize_row(values.data(), kBlockInputs, reinterpret_cast<std::byte*>(&block));
  return block;
}

double squared_error(const std::vector<float>& values, const std::vector<float>& kept) {
  double error = 0;
  for (std::size_t i = 0; i < values.size(); ++i) error += std::pow(static_cast<double>(values[i]) - kept[i], 2);
  return error;
}

TEST(QuantizeRow, TheErrorIsBelowThatOfThePlainStep) {
  const std::vector<float> values = random_row(32 * 500, 1, 1.0f);
  std::vector<std::byte> quantized(quantized_row_bytes(values.size()));
  quantize_row(values.data(), values.size(), quantized.data());
  std::vector<float> kept(values.size()), plain(values.size());
  dequantize_row(quantized.data(), values.size(), kept.data());
  for (std::size_t begin = 0; begin < values.size(); begin += 32) {
    float largest = 0;
    for (int i = 0; i < 32; ++i) largest = std::fmax(largest, std::fabs(values[begin + i]));
    for (int i = 0; i < 32; ++i) plain[begin + i] = std::nearbyint(values[begin + i] * 127 / largest) * largest / 127;
  }
  EXPECT_LT(squared_error(values, kept), 0.9 * squared_error(values, plain));
}

TEST(QuantizeRow, SumsAreThoseOfTheCodes) {
  for (unsigned seed = 0; seed < 50; ++seed) {
    const QuantizedBlock block = quantize(random_row(32, seed, 3.0f));
    int half = 0, all = 0, largest = 0;
    for (int i = 0; i < 32; ++i) {
      all += block.codes[i];
      if (i < 16) half += block.codes[i];
      largest = std::max(largest, std::abs(block.codes[i]));
    }
    EXPECT_EQ(block.negative_sum, -all);
    EXPECT_EQ(block.negative_half, -half);
    EXPECT_EQ(block.negative_sum_float, static_cast<float>(-all));
    EXPECT_GE(largest, 120);
    EXPECT_LE(largest, 127);
  }
}

TEST(QuantizeRow, ExtremeBlocksHaveDefinedResults) {
  std::vector<float> values(32, 0.0f);
  QuantizedBlock block = quantize(values);
  EXPECT_EQ(block.scale, 0.0f);
  values[3] = std::numeric_limits<float>::denorm_min();
  block = quantize(values);
  EXPECT_EQ(block.scale, 0.0f);
  EXPECT_EQ(block.codes[3], 0);
  values[3] = -std::numeric_limits<float>::max();
  block = quantize(values);
  EXPECT_EQ(block.codes[3], -127);
  EXPECT_EQ(block.scale, std::numeric_limits<float>::max() / 127.0f);
  for (float bad : {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()}) {
    values[7] = bad;
    block = quantize(values);
    EXPECT_TRUE(std::isnan(block.scale));
    EXPECT_EQ(block.codes[3], 0);
  }
}

TEST(QuantizeRow, EveryInstructionSetGivesTheScalarBits) {
  std::mt19937 random(5);
  for (float size : {1.0f, 1e-35f, 1e-28f, 3e-20f, 1e18f, 1e33f, 1e-3f}) {
    std::vector<float> values = random_row(32 * 300, random(), size);
    for (std::size_t i = 0; i < values.size(); i += 1 + random() % 97) {
      const float special[] = {0.0f, -0.0f, 0.5f * size, 100 * size, 1e-40f, 1.5f};
      values[i] = special[random() % 6];
    }
    values[64 + 5] = std::numeric_limits<float>::quiet_NaN();
    values[96 + 31] = -std::numeric_limits<float>::infinity();
    std::vector<QuantizedBlock> expected(300), found(300);
    matmul_kernels_scalar.quantize_blocks(values.data(), 300, expected.data());
    for (Isa isa : supported_isas()) {
      matmul_kernels(isa).quantize_blocks(values.data(), 300, found.data());
      for (int block = 0; block < 300; ++block)
        ASSERT_EQ(std::memcmp(&expected[block], &found[block], sizeof(QuantizedBlock)), 0)
            << isa_name(isa) << " block " << block << " size " << size;
    }
  }
}

TEST(QuantizeRow, StridesAvoidMultiplesOfThePageSize) {
  for (std::int64_t columns = 32; columns <= 40960; columns += 32) {
    EXPECT_GE(quantized_row_bytes(columns), static_cast<std::size_t>(columns) / 32 * 48);
    EXPECT_NE(quantized_row_bytes(columns) % 4096, 0u);
    EXPECT_EQ(quantized_row_bytes(columns) % 16, 0u);
  }
}

}  // namespace
}  // namespace kinglet
