#include "compress/quantize/power_grid.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

#include "compress/matrix_sample.h"
#include "kinglet/checkpoint.h"

namespace kinglet {
namespace {

std::vector<float> gaussian(std::size_t count, std::uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, 0.02f);
  std::vector<float> values(count);
  for (float& value : values) value = normal(random);
  return values;
}

TEST(PowerGrid, ExponentOneIsTheUniformQuantizer) {
  const std::vector<float> values = gaussian(2000, 1);
  for (int bits = 2; bits <= 8; ++bits) {
    const PowerGrid grid(bits, 1);
    for (float value : values)
      EXPECT_EQ(grid.encode(value, 0.05), std::lround(std::clamp(value / 0.05, -1.0, 1.0) * grid.most()));
  }
}

TEST(PowerGrid, EveryCodeComesBack) {
  for (int bits = 2; bits <= 8; ++bits) {
    for (double exponent = 0.3; exponent < 1.21; exponent += 0.05) {
      const PowerGrid grid(bits, exponent);
      for (int code = -grid.most(); code <= grid.most(); ++code)
        ASSERT_EQ(grid.encode(grid.decode(code, 0.7), 0.7), code) << bits << " " << exponent;
    }
  }
}

TEST(PowerGrid, ProductsOfCodesAreProductsOfValues) {
  for (double exponent = 0.3; exponent < 1.21; exponent += 0.05) {
    const PowerGrid grid(4, exponent);
    for (int a = -7; a <= 7; ++a) {
      for (int b = -7; b <= 7; ++b) {
        const double expected = grid.decode(a, 1) * grid.decode(b, 1);
        EXPECT_NEAR(grid.product(a * b), expected, 1e-6 * std::fabs(expected));
      }
    }
  }
  // a = 1/2: the value is p |p|, in integers.
  const PowerGrid squares(4, 0.5);
  for (int p = -49; p <= 49; ++p) EXPECT_NEAR(squares.product(p) * 49 * 49, p * std::abs(p), 1e-9);
}

TEST(PowerGrid, AllZerosAndWeightsOfZeroAreNoTrouble) {
  const std::vector<float> zeros(64, 0.0f), values = gaussian(64, 3);
  EXPECT_EQ(power_error(zeros, {}, 32, 4, 0.7), 0);
  EXPECT_EQ(power_error(values, zeros, 32, 4, 0.7), 0);
  EXPECT_EQ(PowerGrid(4, 0.7).encode(1.0, 0), 0);
  EXPECT_GT(power_error(values, {}, 32, 4, 0.7), 0);
}

TEST(PowerGrid, WeightsDrawTheErrorToWhatCounts) {
  const std::vector<float> values = gaussian(192 * 40, 5), ones(192, 1.0f);
  EXPECT_DOUBLE_EQ(power_error(values, ones, 192, 4, 0.75), power_error(values, {}, 192, 4, 0.75));
}

struct Sampled {
  double best = 0, least = INFINITY;
  int minima = 0;
};

/// 30 exponents of [0.3, 1.2]; minima shallower than a thousandth of the error are the ripple of rounding.
Sampled sample_error(const std::vector<float>& values, std::size_t block) {
  Sampled sampled;
  std::vector<double> errors;
  for (int i = 0; i < 30; ++i) errors.push_back(power_error(values, {}, block, 4, 0.3 + 0.9 * i / 29));
  for (std::size_t i = 0; i < errors.size(); ++i)
    if (errors[i] < sampled.least) sampled.least = errors[i], sampled.best = 0.3 + 0.9 * double(i) / 29;
  double highest_since = INFINITY;
  double lowest = INFINITY;
  bool falling = true;
  for (double error : errors) {
    if (falling) {
      lowest = std::min(lowest, error);
      if (error > 1.001 * lowest) ++sampled.minima, falling = false, highest_since = error;
    } else {
      highest_since = std::max(highest_since, error);
      if (error < highest_since / 1.001) falling = true, lowest = error;
    }
  }
  sampled.minima += falling ? 1 : 0;
  return sampled;
}

// The error has one minimum, and the search finds it. With KINGLET_TEST_MODEL=FILE for every matrix of a model.
TEST(PowerSearch, FindsTheOneMinimum) {
  std::vector<std::vector<float>> matrices;
  if (const char* path = std::getenv("KINGLET_TEST_MODEL")) {
    const auto model = open_checkpoint(path);
    ASSERT_TRUE(model) << model.error().text();
    for (const TensorInfo& tensor : (*model)->tensors())
      if (tensor.shape.size() == 2 && tensor.columns() % 32 == 0 && tensor.name.starts_with("blk."))
        matrices.push_back(*sample_matrix(**model, tensor, 32768));
  } else {
    for (std::uint32_t seed = 0; seed < 4; ++seed) matrices.push_back(gaussian(192 * 60, seed));
  }
  std::size_t single = 0, found = 0, within = 0;
  for (const auto& values : matrices) {
    const auto error = [&](double exponent) { return power_error(values, {}, 192, 4, exponent); };
    const Sampled sampled = sample_error(values, 192);
    const PowerMinimum minimum = search_exponent(error, 0.3, 1.2);
    single += sampled.minima == 1 ? 1 : 0;
    found += minimum.error <= 1.001 * sampled.least ? 1 : 0;
    // Within 0.01 of the lowest point of a fine sweep around the sampled one.
    double best = sampled.best, least = sampled.least;
    for (int i = -15; i <= 15; ++i) {
      const double exponent = sampled.best + 0.002 * i, there = error(exponent);
      if (there < least) least = there, best = exponent;
    }
    within += std::fabs(best - minimum.exponent) <= 0.01 ? 1 : 0;
    EXPECT_LE(minimum.evaluations, 20);
  }
  std::printf(
      "| matrices %zu | one minimum %zu | search within 0.1 %% of the least error %zu | within 0.01 of it %zu |\n",
      matrices.size(), single, found, within);
  EXPECT_GE(single * 100, matrices.size() * 95);
  EXPECT_EQ(found, matrices.size());
}

}  // namespace
}  // namespace kinglet
