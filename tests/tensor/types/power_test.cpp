// The types of signed powers: what the tests of all types (encode_test.cpp, matmul_test.cpp) do not reach.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include "kinglet/block_type.h"
#include "tensor/kernels/matmul.h"
#include "tensor/quantize/power_levels.h"

namespace kinglet {
namespace {

std::vector<float> gaussian(std::size_t count, std::uint32_t seed) {
  std::mt19937 random(seed);
  const auto uniform = [&] { return (random() + 0.5) / 4294967296.0; };
  std::vector<float> values(count);
  for (float& value : values)
    value = static_cast<float>(std::sqrt(-2 * std::log(uniform())) * std::cos(2 * 3.14159265358979323846 * uniform()));
  return values;
}

std::vector<float> round_trip(const BlockType& type, const std::vector<float>& values) {
  const std::size_t blocks = values.size() / type.block_values;
  std::vector<std::byte> data(blocks * type.block_bytes);
  type.encode(values.data(), blocks, nullptr, data.data());
  std::vector<float> out(values.size());
  type.decode(data.data(), blocks, out.data());
  return out;
}

double relative_error(const std::vector<float>& values, const std::vector<float>& others) {
  double error = 0, total = 0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    error += std::pow(double{values[i]} - others[i], 2);
    total += double{values[i]} * values[i];
  }
  return error / total;
}

std::string member_name(int bits, int exponent) {
  return "P" + std::to_string(bits) + "_" + (exponent < 100 ? "" : "1") + std::to_string(exponent / 10 % 10) +
         std::to_string(exponent % 10);
}

TEST(Power, ExponentsAreTypesOfTheirOwn) {
  for (int bits = 2; bits <= 5; ++bits) {
    for (int exponent = kPowerFirst; exponent <= kPowerLast; exponent += kPowerStep) {
      const std::string name = member_name(bits, exponent);
      const BlockType* type = find_block_type(name);
      ASSERT_NE(type, nullptr) << name;
      EXPECT_EQ(type->name, exponent == kPowerUsual ? name.substr(0, 2) : name);
      EXPECT_EQ(find_block_type(type->name), type) << "read back by the name that files hold";
      EXPECT_TRUE(type->is_native);
      EXPECT_EQ(find_block_type(type->gguf_id), nullptr);
      for (const auto& [columns, block] : {std::pair{32, 32}, {576, 192}, {640, 160}, {1536, 256}, {352, 32}}) {
        const BlockType* fitting = fitting_block_type(*type, columns);
        ASSERT_NE(fitting, nullptr);
        EXPECT_EQ(fitting->block_values, block);
        EXPECT_EQ(fitting->name, type->name);
        EXPECT_EQ(fitting->block_bytes, 2 + block * bits / 8);
      }
      EXPECT_EQ(fitting_block_type(*type, 48), nullptr);
      EXPECT_EQ(fitting_block_type(*type, 0), nullptr);
    }
  }
  for (const char* name :
       {"P4_", "P4_7", "P4_74", "P4_45", "P4_125", "P4_075", "P4_75x", "P4_-75", "P6_75", "P1", "P4_99999999999"})
    EXPECT_EQ(find_block_type(name), nullptr) << name;
  EXPECT_EQ(find_block_type("p4_75"), find_block_type("P4_75"));
}

TEST(Power, LevelsAreSignedPowers) {
  const auto uniform = power_levels<4>(100);
  for (int code = 1; code < 16; ++code) EXPECT_EQ(uniform[code] - uniform[code - 1], uniform[9]) << "evenly spaced";
  const auto squares = power_levels<4>(50);
  const int unit = squares[9];
  for (int q = -8; q < 8; ++q) EXPECT_EQ(squares[q + 8], q * std::abs(q) * unit);
  for (int exponent = kPowerFirst; exponent <= kPowerLast; exponent += kPowerStep) {
    const auto levels = power_levels<4>(exponent);
    EXPECT_TRUE(std::is_sorted(levels.begin(), levels.end()));
    EXPECT_EQ(std::adjacent_find(levels.begin(), levels.end()), levels.end()) << exponent;
    EXPECT_EQ(levels[8], 0);
    for (int q = 1; q < 8; ++q) {
      EXPECT_EQ(levels[8 + q], -levels[8 - q]);
      const double true_level = std::pow(q / 8.0, 100.0 / exponent);
      EXPECT_NEAR(-levels[8 + q] / double(levels[0]), true_level, 0.007) << exponent << " " << q;
    }
  }
}

TEST(Power, EveryCodeOfEveryTypeComesBack) {
  std::mt19937 random(5);
  for (int bits = 2; bits <= 5; ++bits) {
    for (int exponent = kPowerFirst; exponent <= kPowerLast; exponent += kPowerStep) {
      const BlockType& type = *fitting_block_type(*find_block_type(member_name(bits, exponent)), 192);
      std::vector<std::byte> data(8 * static_cast<std::size_t>(type.block_bytes));
      for (std::byte& byte : data) byte = static_cast<std::byte>(random() >> 24);
      for (std::size_t block = 0; block < 8; ++block)
        data[block * type.block_bytes + 1] = std::byte(0x2C | (block % 2) << 7);  // scales near +-1/16
      std::vector<float> values(8 * 192);
      type.decode(data.data(), 8, values.data());
      EXPECT_EQ(round_trip(type, values), values) << type.name;
    }
  }
}

// Gaussian values in blocks of 192: with the best exponent the error is well below the uniform grid's (exponent 1),
// which gets the same search of its range.
TEST(Power, BeatsTheUniformGridAtTheSameBytes) {
  const std::vector<float> values = gaussian(192 * 100, 7);
  for (const auto& [bits, gain] : {std::pair{3, 0.93}, {4, 0.87}, {5, 0.87}}) {  // with 2 bits there is nothing to bend
    const double uniform =
        relative_error(values, round_trip(*fitting_block_type(*find_block_type(member_name(bits, 100)), 192), values));
    double best = uniform;
    int at = 100;
    for (int exponent = kPowerFirst; exponent <= 100; exponent += kPowerStep) {
      const BlockType& type = *fitting_block_type(*find_block_type(member_name(bits, exponent)), 192);
      const double error = relative_error(values, round_trip(type, values));
      if (error < best) best = error, at = exponent;
    }
    std::printf("| %d bits | uniform %.3e | exponent %.2f: %.3e | %.3f |\n", bits, uniform, at / 100.0, best,
                best / uniform);
    EXPECT_LT(best, gain * uniform) << bits;
    EXPECT_LT(at, 100);
  }
}

// No scale of a fine sweep, each with its nearest levels, is much better than the encoder's.
TEST(Power, IsCloseToTheBestOfAllScales) {
  for (const char* name : {"P2", "P3", "P4_75", "P5"}) {
    const BlockType& type = *fitting_block_type(*find_block_type(name), 64);
    const std::vector<float> values = gaussian(64 * 12, 11), out = round_trip(type, values);
    double best = 0, error = 0;
    for (std::size_t b = 0; b < 12; ++b) {
      float peak = 0;
      for (std::size_t i = 0; i < 64; ++i) peak = std::max(peak, std::fabs(values[b * 64 + i]));
      double least = INFINITY;
      for (int k = -1500; k <= 1500; ++k) {
        const float scale = peak * static_cast<float>(k) / 40000.0f;
        if (k == 0) continue;
        double sum = 0;
        for (std::size_t i = 0; i < 64; ++i) {
          double nearest = INFINITY;
          for (int code = 0; code < 1 << type.form.bits; ++code)
            nearest =
                std::min(nearest, std::fabs(double{values[b * 64 + i]} - double{scale} * type.form.codebook[code]));
          sum += nearest * nearest;
        }
        least = std::min(least, sum);
      }
      best += least;
      for (std::size_t i = b * 64; i < b * 64 + 64; ++i) error += std::pow(double{values[i]} - out[i], 2);
    }
    EXPECT_LE(error, 1.03 * best) << name;
  }
}

// Codes of up to 4 bits stay 4 bits in the packed matrix: a table lookup in the kernel, no wider copy.
TEST(Power, NarrowCodesStayNarrowInTheKernels) {
  const auto plan_of = [](const char* name) {
    return *plan_packing(*fitting_block_type(*find_block_type(name), 576), 64, 576);
  };
  EXPECT_EQ(plan_of("P4_75").tile_bytes, plan_of("IQ4_NL").tile_bytes);
  EXPECT_EQ(plan_of("P2").tile_bytes, plan_of("P4").tile_bytes);
  EXPECT_EQ(plan_of("P5").tile_bytes, plan_of("Q8_0").tile_bytes);
}

}  // namespace
}  // namespace kinglet
