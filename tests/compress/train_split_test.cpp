// Tensor trains: shapes, the decomposition, and what it loses.
#include "compress/factorize/train_split.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "base/thread_pool.h"

namespace kinglet {
namespace {

std::vector<float> random_matrix(std::int64_t outputs, std::int64_t inputs, std::uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<float> values(static_cast<std::size_t>(outputs * inputs));
  for (float& value : values) value = static_cast<float>(random() / 4294967296.0 - 0.5);
  return values;
}

double squares(const std::vector<float>& values) {
  double sum = 0;
  for (float value : values) sum += double(value) * value;
  return sum;
}

TEST(TensorTrain, DigitsAreAsEvenAsThePrimesAllow) {
  using Digits = std::vector<std::int64_t>;
  EXPECT_EQ(train_digits(576, 2), (Digits{24, 24}));
  EXPECT_EQ(train_digits(1536, 2), (Digits{32, 48}));
  EXPECT_EQ(train_digits(576, 3), (Digits{8, 8, 9}));
  EXPECT_EQ(train_digits(216, 3), (Digits{6, 6, 6}));
  EXPECT_EQ(train_digits(973, 2), (Digits{7, 139}));
  EXPECT_FALSE(train_digits(139, 2));
  EXPECT_FALSE(train_digits(6, 3));
  EXPECT_FALSE(train_digits(1, 2));
  EXPECT_FALSE(train_digits(0, 2));
  EXPECT_FALSE(train_digits(64, 1));
}

TEST(TensorTrain, ParametersAreThoseOfTheFormula) {
  TrainShape shape = *train_shape(216, 216, 3);
  EXPECT_EQ(full_bond(shape, 0), 36);
  EXPECT_EQ(full_bond(shape, 1), 36);
  for (std::int64_t bond : {1, 7, 36}) {
    shape.bonds = {1, bond, bond, 1};
    EXPECT_EQ(shape.parameters(), 2 * 36 * bond + 36 * bond * bond);
  }
  TrainShape two = *train_shape(1536, 576, 2);
  EXPECT_EQ(full_bond(two, 0), 768);
  two.bonds[1] = 100;
  EXPECT_EQ(two.parameters(), 100 * (32 * 24 + 48 * 24));
  EXPECT_EQ(two.products(), 100 * (24 * 24 * 48 + 32 * 24 * 48));
}

TEST(TensorTrain, FullBondsLoseNothing) {
  ThreadPool pool(2);
  for (const auto& [outputs, inputs, sites] :
       {std::tuple{96, 60, 2}, {60, 96, 2}, {216, 216, 3}, {210, 120, 3}, {144, 240, 4}}) {
    const auto values = random_matrix(outputs, inputs, 1);
    const TrainSplit split(*train_shape(outputs, inputs, sites), values, 1 << 20, pool);
    TrainShape shape;
    const auto train = split.sites(1 << 20, shape, pool);
    EXPECT_LT(std::sqrt(train_error(shape, train, values) / squares(values)), 1e-5) << outputs << " " << sites;
    std::size_t numbers = 0;
    for (const auto& site : train) numbers += site.size();
    EXPECT_EQ(static_cast<std::int64_t>(numbers), shape.parameters());
  }
}

TEST(TensorTrain, ErrorIsTheSumOfWhatWasDiscarded) {
  ThreadPool pool(1);
  const auto values = random_matrix(96, 60, 2);
  const TrainSplit two(*train_shape(96, 60, 2), values, 1 << 20, pool);
  double before = squares(values);
  for (std::int64_t bond : {1, 5, 17, 40}) {
    TrainShape shape;
    const double error = train_error(shape, two.sites(bond, shape, pool), values);
    EXPECT_NEAR(error, two.error(bond), 1e-4 * squares(values));
    EXPECT_LT(error, before);
    before = error;
    EXPECT_EQ(shape.bonds[1], bond);
  }
  EXPECT_NEAR(two.error(0), squares(values), 1e-6 * squares(values));
  // Three sites: no more than the sum over the cuts, each of the whole tensor; no less than one cut alone.
  const TrainSplit three(*train_shape(216, 216, 3), random_matrix(216, 216, 3), 1 << 20, pool);
  TrainShape shape;
  const double error = train_error(shape, three.sites(20, shape, pool), random_matrix(216, 216, 3));
  EXPECT_GE(error, three.error(20) * (1 - 1e-6));
  EXPECT_LE(error, 2.2 * three.error(20)) << "the second cut of a random matrix loses about as much as the first";
}

// A sum of Kronecker products is found exactly, though its rank as a matrix is full.
TEST(TensorTrain, FindsKroneckerProductsNotThinOnes) {
  ThreadPool pool(1);
  const auto a = random_matrix(8, 6, 4), b = random_matrix(12, 10, 5);
  std::vector<float> values(96 * 60);
  for (int o = 0; o < 96; ++o)
    for (int i = 0; i < 60; ++i) values[o * 60 + i] = a[o / 12 * 6 + i / 10] * b[o % 12 * 10 + i % 10];
  const TrainSplit split(*train_shape(96, 60, 2), values, 1, pool);
  EXPECT_LT(split.error(1), 1e-9 * squares(values));
  TrainShape shape;
  EXPECT_LT(train_error(shape, split.sites(1, shape, pool), values), 1e-9 * squares(values));
  EXPECT_EQ(shape.parameters(), 48 + 120);
}

TEST(TensorTrain, ZeroMatricesAndThreadsAreNoTrouble) {
  ThreadPool one(1), three(3);
  const std::vector<float> zeros(96 * 60, 0.0f);
  const TrainSplit split(*train_shape(96, 60, 2), zeros, 8, one);
  TrainShape shape;
  for (const auto& site : split.sites(8, shape, one))
    for (float value : site) EXPECT_EQ(value, 0.0f);
  const auto values = random_matrix(96, 60, 6);
  const TrainSplit first(*train_shape(96, 60, 2), values, 20, one), second(*train_shape(96, 60, 2), values, 20, three);
  EXPECT_EQ(first.sites(20, shape, one), second.sites(20, shape, three));
}

}  // namespace
}  // namespace kinglet
