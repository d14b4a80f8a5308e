// The allocation of types under a budget, against trying everything.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "compress/plan/choices.h"

namespace kinglet {
namespace {

double loss_of(const std::vector<TensorChoices>& tensors, const std::vector<std::size_t>& chosen) {
  double loss = 0;
  for (std::size_t t = 0; t < tensors.size(); ++t) loss += tensors[t].choices[chosen[t]].loss;
  return loss;
}
std::uint64_t bytes_of(const std::vector<TensorChoices>& tensors, const std::vector<std::size_t>& chosen) {
  std::uint64_t bytes = 0;
  for (std::size_t t = 0; t < tensors.size(); ++t) bytes += tensors[t].choices[chosen[t]].bytes;
  return bytes;
}

/// The least loss of all combinations within the budget.
double best_loss(const std::vector<TensorChoices>& tensors, std::uint64_t budget) {
  double best = 1e300;
  std::vector<std::size_t> chosen(tensors.size(), 0);
  for (;;) {
    if (bytes_of(tensors, chosen) <= budget) best = std::min(best, loss_of(tensors, chosen));
    std::size_t t = 0;
    while (t < tensors.size() && ++chosen[t] == tensors[t].choices.size()) chosen[t++] = 0;
    if (t == tensors.size()) return best;
  }
}

std::vector<TensorChoices> random_tensors(std::mt19937& random, int tensors, int choices) {
  std::vector<TensorChoices> all(static_cast<std::size_t>(tensors));
  for (TensorChoices& tensor : all) {
    const double sensitivity = 0.1 + random() % 100 / 20.0;
    const std::uint64_t unit = 32 * (1 + random() % 20);
    for (int i = 0; i < choices; ++i)
      tensor.choices.push_back({nullptr, unit * static_cast<std::uint64_t>(2 + i),
                                sensitivity * std::pow(4.0, -i) * (0.7 + random() % 60 / 100.0)});
  }
  return all;
}

TEST(Allocate, StaysWithinTheBudgetAndNearTheOptimum) {
  std::mt19937 random(5);
  double ratio = 0;
  int cases = 0;
  for (int round = 0; round < 60; ++round) {
    const auto tensors = random_tensors(random, 6, 4);
    const std::vector<std::size_t> least(6, 0), most(6, 3);
    const std::uint64_t low = bytes_of(tensors, least), high = bytes_of(tensors, most);
    const std::uint64_t budget = low + (high - low) * (random() % 101) / 100;
    const auto chosen = allocate(tensors, budget);
    ASSERT_TRUE(chosen);
    EXPECT_LE(bytes_of(tensors, *chosen), budget);
    const double best = best_loss(tensors, budget);
    EXPECT_GE(loss_of(tensors, *chosen), best * (1 - 1e-12));
    ratio += loss_of(tensors, *chosen) / best;
    ++cases;
  }
  EXPECT_LT(ratio / cases, 1.06);
}

TEST(Allocate, TakesTheBestWhereTheBudgetAllowsAll) {
  std::mt19937 random(7);
  const auto tensors = random_tensors(random, 4, 3);
  const auto chosen = allocate(tensors, 1u << 30);
  ASSERT_TRUE(chosen);
  EXPECT_DOUBLE_EQ(loss_of(tensors, *chosen), best_loss(tensors, 1u << 30));
}

TEST(Allocate, NeverPaysForWhatIsWorse) {
  std::vector<TensorChoices> tensors(1);
  tensors[0].choices = {{nullptr, 32, 1.0}, {nullptr, 64, 2.0}, {nullptr, 64, 0.5}, {nullptr, 96, 0.5}};
  EXPECT_EQ(*allocate(tensors, 96), std::vector<std::size_t>{2});
  EXPECT_EQ(*allocate(tensors, 63), std::vector<std::size_t>{0});
}

TEST(Allocate, RefusesABudgetBelowTheSmallest) {
  std::mt19937 random(9);
  const auto tensors = random_tensors(random, 3, 3);
  const auto chosen = allocate(tensors, bytes_of(tensors, {0, 0, 0}) - 1);
  ASSERT_FALSE(chosen);
  EXPECT_EQ(chosen.error().code, ErrorCode::kInvalidArgument);
}

}  // namespace
}  // namespace kinglet
