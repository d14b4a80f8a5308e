#include "compress/search/screening.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace kinglet {
namespace {

/// Items of two sizes at 2 to 5 bits; a bit more quarters the loss, and items differ in what they lose.
struct Model {
  std::vector<SearchItem> items;
  std::vector<std::vector<double>> losses;
  Model(std::uint64_t seed, std::size_t count, std::uint64_t small, std::uint64_t large) {
    std::mt19937_64 random(seed);
    std::lognormal_distribution<double> weight(0, 1.5);
    for (std::size_t i = 0; i < count; ++i) {
      const std::uint64_t bit = i % 3 == 0 ? small : large;
      const double loss = weight(random);
      items.push_back({{2 * bit, 3 * bit, 4 * bit, 5 * bit}});
      losses.push_back({16 * loss, 4 * loss, loss, loss / 4});
    }
  }
};

double summed_loss(const Model& model, const SearchPoint& point) {
  double sum = 0;
  for (std::size_t i = 0; i < point.size(); ++i) sum += model.losses[i][static_cast<std::size_t>(point[i])];
  return sum;
}

/// By trying all points.
double least_of_all(const Model& model, std::uint64_t bytes, bool exact) {
  double least = 1e300;
  SearchPoint point(model.items.size(), 0);
  for (std::uint64_t code = 0; code < 1u << (2 * point.size()); ++code) {
    for (std::size_t i = 0; i < point.size(); ++i) point[i] = static_cast<int>(code >> (2 * i) & 3);
    const std::uint64_t now = bytes_of(model.items, point);
    if (exact ? now == bytes : now <= bytes) least = std::min(least, summed_loss(model, point));
  }
  return least;
}

TEST(Screening, FindsTheLeastLossOfAllPoints) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    const Model model(seed, 7, 64, 160);
    const std::uint64_t bytes = bytes_of(model.items, SearchPoint(7, 1));
    for (const bool exact : {true, false}) {
      const SearchPoint found = least_loss(model.items, model.losses, bytes, exact);
      ASSERT_EQ(found.size(), 7u);
      EXPECT_LE(bytes_of(model.items, found), bytes);
      EXPECT_TRUE(!exact || bytes_of(model.items, found) == bytes);
      EXPECT_NEAR(summed_loss(model, found), least_of_all(model, bytes, exact), 1e-9) << seed << exact;
    }
  }
}

TEST(Screening, SizesWithoutACommonDivisorStayWithinTheBudget) {
  const Model model(3, 7, 1000003, 2500009);
  const std::uint64_t bytes = bytes_of(model.items, SearchPoint(7, 1));
  const SearchPoint found = least_loss(model.items, model.losses, bytes, false);
  ASSERT_EQ(found.size(), 7u);
  EXPECT_LE(bytes_of(model.items, found), bytes);
  EXPECT_LE(summed_loss(model, found), 1.05 * least_of_all(model, bytes, false));
  EXPECT_TRUE(least_loss(model.items, model.losses, bytes, true).empty());
}

TEST(Screening, WhatFitsNowhereIsNoPoint) {
  const Model model(1, 6, 64, 160);
  const std::uint64_t lowest = bytes_of(model.items, SearchPoint(6, 0));
  EXPECT_TRUE(least_loss(model.items, model.losses, lowest - 1, false).empty());
  EXPECT_EQ(least_loss(model.items, model.losses, lowest, false), SearchPoint(6, 0));
  EXPECT_TRUE(least_loss(model.items, model.losses, lowest + 1, true).empty());
  EXPECT_EQ(least_loss(model.items, model.losses, lowest + 1, false), SearchPoint(6, 0));
  EXPECT_EQ(least_loss(model.items, model.losses, bytes_of(model.items, SearchPoint(6, 3)), true), SearchPoint(6, 3));
}

}  // namespace
}  // namespace kinglet
