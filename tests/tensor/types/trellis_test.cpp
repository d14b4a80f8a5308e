// The trellis types K2..K6: what other types' tests do not reach (tests/tensor/types/encode_test.cpp runs for all).
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "kinglet/block_type.h"
#include "tensor/quantize/trellis.h"

namespace kinglet {
namespace {

constexpr std::string_view kNames[] = {"K2", "K3", "K4", "K5", "K6"};

double uniform(std::mt19937& random) { return (random() + 0.5) / 4294967296.0; }
std::vector<float> gaussian(std::size_t count, double deviation, std::uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<float> values(count);
  for (float& value : values)
    value = static_cast<float>(deviation * std::sqrt(-2 * std::log(uniform(random))) *
                               std::cos(2 * 3.14159265358979323846 * uniform(random)));
  return values;
}

std::vector<float> round_trip(const BlockType& type, const std::vector<float>& values,
                              const float* importance = nullptr) {
  const std::size_t blocks = values.size() / type.block_values;
  std::vector<std::byte> data(blocks * type.block_bytes);
  type.encode(values.data(), blocks, importance, data.data());
  std::vector<float> out(values.size());
  type.decode(data.data(), blocks, out.data());
  return out;
}

double relative_error(const std::vector<float>& values, const std::vector<float>& others) {
  double error = 0, total = 0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    const double off = double{values[i]} - others[i];
    error += off * off;
    total += double{values[i]} * values[i];
  }
  return error / total;
}

TEST(Trellis, FitsEveryRowOfWhole32s) {
  const std::pair<int, int> blocks[] = {{32, 32},   {64, 64},   {96, 96},    {128, 128},  {160, 160},
                                        {192, 192}, {224, 224}, {256, 256},  {384, 192},  {576, 192},
                                        {640, 160}, {896, 224}, {1536, 256}, {4864, 256}, {352, 32}};
  for (std::string_view name : kNames) {
    const BlockType& type = *find_block_type(name);
    EXPECT_TRUE(type.is_native);
    for (const auto& [columns, block] : blocks) {
      const BlockType* variant = fitting_block_type(type, columns);
      ASSERT_NE(variant, nullptr) << columns;
      EXPECT_EQ(variant->block_values, block) << columns;
      EXPECT_EQ(variant->name, name);
      EXPECT_LE(variant->bits_per_weight(), type.form.trellis_bits + 0.5);
    }
    EXPECT_EQ(fitting_block_type(type, 48), nullptr);
    EXPECT_EQ(fitting_block_type(type, 0), nullptr);
    EXPECT_EQ(find_block_type(type.gguf_id), nullptr) << "files have no number for it";
  }
  EXPECT_EQ(fitting_block_type(*find_block_type("Q4_K"), 576), nullptr);
  EXPECT_EQ(fitting_block_type(*find_block_type("Q4_0"), 576), find_block_type("Q4_0"));
}

// Bounds are 2 % above what was measured; a uniform grid of k bits with free scales for each 32 values has about
// 6.8e-2 (2 bits), 2.2e-2 (3), 6.6e-3 (4).
TEST(Trellis, ErrorOnAGaussianTensor) {
  const std::pair<std::string_view, double> bounds[] = {
      {"K2", 7.75e-2}, {"K3", 2.0e-2}, {"K4", 5.2e-3}, {"K5", 1.45e-3}, {"K6", 5.0e-4}};
  for (const auto& [name, bound] : bounds) {
    const BlockType& family = *find_block_type(name);
    for (const int columns : {32, 96, 192, 224, 256}) {
      const BlockType& type = *fitting_block_type(family, columns);
      const std::vector<float> values = gaussian(static_cast<std::size_t>(type.block_values) * 60, 0.03, 5);
      const double error = relative_error(values, round_trip(type, values));
      EXPECT_LT(error, bound) << name << " " << columns;
      if (columns == 256) std::printf("| %s | %.3f | %.3e |\n", name.data(), type.bits_per_weight(), error);
    }
  }
}

TEST(Trellis, EveryLengthKeepsWhatItEncoded) {
  for (std::string_view name : kNames) {
    for (int columns = 32; columns <= 256; columns += 32) {
      const BlockType& type = *fitting_block_type(*find_block_type(name), columns);
      const std::vector<float> once = round_trip(type, gaussian(static_cast<std::size_t>(columns) * 20, 0.7, 3));
      EXPECT_EQ(once, round_trip(type, once)) << name << " " << columns;
    }
  }
}

// The path through the trellis is the best one: no change of one code lowers the error. (A change reaches the codes
// whose history it is in.)
TEST(Trellis, NoSingleCodeCanBeImproved) {
  for (std::string_view name : kNames) {
    const BlockType& type = *fitting_block_type(*find_block_type(name), 32);
    const int code_bytes = 4 * type.form.trellis_bits, header = type.block_bytes - code_bytes;
    for (std::uint32_t seed = 0; seed < 20; ++seed) {
      const std::vector<float> values = gaussian(32, 0.05, 100 + seed);
      std::vector<std::byte> data(type.block_bytes);
      type.encode(values.data(), 1, nullptr, data.data());
      const auto error = [&] {
        float out[32];
        type.decode(data.data(), 1, out);
        double sum = 0;
        for (int i = 0; i < 32; ++i) sum += std::pow(double{values[i]} - out[i], 2);
        return sum;
      };
      const double best = error();
      for (int bit = 0; bit < 8 * code_bytes; ++bit) {
        data[header + bit / 8] ^= std::byte{1} << bit % 8;
        EXPECT_GE(error(), best * (1 - 1e-6)) << name << " bit " << bit;
        data[header + bit / 8] ^= std::byte{1} << bit % 8;
      }
    }
  }
}

TEST(Trellis, PartsAreTheBlocksOwnCodesAndScales) {
  for (std::string_view name : kNames) {
    for (int columns : {32, 160, 256}) {
      const BlockType& type = *fitting_block_type(*find_block_type(name), columns);
      const std::size_t groups = static_cast<std::size_t>(columns) / 32, code_bytes = 4 * type.form.trellis_bits;
      std::mt19937 random(7);
      std::vector<std::byte> data(3 * type.block_bytes), codes(3 * groups * code_bytes);
      for (std::byte& byte : data) byte = static_cast<std::byte>(random() >> 24);
      std::vector<std::uint8_t> scales(3 * groups);
      type.trellis_parts(data.data(), 3, codes.data(), scales.data());
      std::vector<std::int8_t> levels(3 * columns);
      std::vector<float> factors(3 * groups);
      type.codes(data.data(), 3, levels.data(), factors.data(), nullptr);
      for (std::size_t g = 0; g < 3 * groups; ++g) EXPECT_EQ(factors[g], trellis_scale(scales[g]));
      for (std::size_t block = 0; block < 3; ++block) {
        EXPECT_EQ(std::memcmp(codes.data() + block * groups * code_bytes,
                              data.data() + (block + 1) * type.block_bytes - groups * code_bytes, groups * code_bytes),
                  0);
      }
    }
  }
}

}  // namespace
}  // namespace kinglet
