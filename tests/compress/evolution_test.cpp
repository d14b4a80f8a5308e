#include "compress/search/evolution.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>

namespace kinglet {
namespace {

using Costs = std::vector<double>;

/// 12 items of two levels, of which the budget allows 10 to be high: "drop 2 of 12".
struct Toy {
  std::vector<SearchItem> items{12, SearchItem{{0, 100}}};
  std::vector<double> loss = {9, 7, 6, 5, 1.5, 4, 8, 2, 1.2, 6, 5, 7};
  SearchOptions options{.budget = 1000, .generations = 30, .offspring = 8, .stages = {{2, 1}, {1, 2}}, .seed = 1};
  double cost(const SearchPoint& point) const {
    double sum = 0;
    for (std::size_t i = 0; i < point.size(); ++i) sum += point[i] == 0 ? loss[i] : 0;
    // Items 4 and 8 need each other gone: not additive.
    return point[4] == 0 && point[8] == 0 ? sum + 2.5 : sum;
  }
  double optimum() const {
    double least = 1e9;
    for (std::size_t a = 0; a < 12; ++a) {
      for (std::size_t b = a + 1; b < 12; ++b) {
        SearchPoint point(12, 1);
        point[a] = point[b] = 0;
        least = std::min(least, cost(point));
      }
    }
    return least;
  }
};

TEST(Evolution, FindsTheBestOfAllPairs) {
  int found = 0;
  for (std::uint64_t seed = 1; seed <= 10; ++seed) {
    Toy toy;
    toy.options.seed = seed;
    SearchState start{.parent = SearchPoint(12, 1)};
    start.parent[0] = start.parent[1] = 0;
    const auto end = evolve(
        toy.items, start, toy.options,
        [&](const SearchPoint& point, const SearchData&) -> Result<Costs> { return Costs{toy.cost(point)}; },
        [](const SearchState&) -> Result<void> { return {}; });
    ASSERT_TRUE(end);
    found += toy.cost(end->parent) == toy.optimum();
  }
  EXPECT_GE(found, 9);
}

TEST(Evolution, NeverLeavesTheBudget) {
  std::vector<SearchItem> items;
  for (std::uint64_t i = 1; i <= 9; ++i) items.push_back({{10 * i, 14 * i, 19 * i, 25 * i}});
  SearchPoint point(items.size(), 1);
  const std::uint64_t budget = bytes_of(items, point);
  int children = 0;
  for (std::uint64_t seed = 0; seed < 400; ++seed) {
    const SearchPoint child = mutate(items, point, budget, seed);
    if (child.empty()) continue;
    ++children;
    EXPECT_LE(bytes_of(items, child), budget);
    EXPECT_NE(child, point);
    point = child;
  }
  EXPECT_GT(children, 20);
}

TEST(Evolution, ExactPointsAllHaveTheBytesOfTheStart) {
  // Two sizes of matrices at 2 to 5 bits, all at 3: a small one up can only be paid by a small one down.
  std::vector<SearchItem> items;
  for (std::uint64_t i = 0; i < 20; ++i) {
    const std::uint64_t bit = i % 3 == 0 ? 48 : 128;
    items.push_back({{2 * bit, 3 * bit, 4 * bit, 5 * bit}});
  }
  const SearchState start{.parent = SearchPoint(items.size(), 1)};
  const std::uint64_t budget = bytes_of(items, start.parent);
  int points = 0;
  const auto fitness = [&](const SearchPoint& point, const SearchData&) -> Result<Costs> {
    EXPECT_EQ(bytes_of(items, point), budget);
    ++points;
    double sum = 0;
    for (std::size_t i = 0; i < point.size(); ++i) sum += static_cast<double>(i) / (1 << point[i]);
    return Costs{sum};
  };
  const SearchOptions options{
      .budget = budget, .generations = 60, .offspring = 16, .stages = {{4, 1}, {2, 2}, {1, 3}}, .exact = true};
  const auto end = evolve(items, start, options, fitness, [](const SearchState&) -> Result<void> { return {}; });
  ASSERT_TRUE(end);
  EXPECT_GT(points, 60 * 20);
  EXPECT_GT(end->accepted, 5);
  // Later items count more, so they have the higher levels within each size.
  int early = 0, late = 0;
  for (std::size_t i = 0; i < 10; ++i) early += end->parent[i], late += end->parent[i + 10];
  EXPECT_GT(late, early);
}

TEST(Evolution, GoesOnFromItsJournal) {
  Toy toy;
  const auto fitness = [&](const SearchPoint& point, const SearchData&) -> Result<Costs> {
    return Costs{toy.cost(point)};
  };
  SearchState start{.parent = SearchPoint(12, 1)};
  start.parent[0] = start.parent[1] = 0;
  std::vector<SearchState> journal;
  const auto whole = evolve(toy.items, start, toy.options, fitness, [&](const SearchState& state) -> Result<void> {
    journal.push_back(state);
    return {};
  });
  ASSERT_TRUE(whole);
  const auto again =
      evolve(toy.items, journal[4], toy.options, fitness, [](const SearchState&) -> Result<void> { return {}; });
  ASSERT_TRUE(again);
  EXPECT_EQ(*again, *whole);
}

TEST(Evolution, EachStageReadsDataOfItsOwn) {
  Toy toy;
  toy.options.generations = 1;
  toy.options.stages = {{4, 10}, {2, 20}, {1, 40}};
  SearchState start{.parent = SearchPoint(12, 1)};
  start.parent[0] = start.parent[1] = 0;
  std::map<std::int64_t, std::pair<std::int64_t, int>> read;  // by the first token: how many, by how many points
  const auto fitness = [&](const SearchPoint& point, const SearchData& data) -> Result<Costs> {
    read[data.first].first = data.tokens;
    ++read[data.first].second;
    return Costs{toy.cost(point)};
  };
  ASSERT_TRUE(evolve(toy.items, start, toy.options, fitness, [](const SearchState&) -> Result<void> { return {}; }));
  const std::map<std::int64_t, std::pair<std::int64_t, int>> expected{{0, {10, 8}}, {10, {20, 4}}, {30, {40, 3}}};
  EXPECT_EQ(read, expected);
}

TEST(Evolution, MovesOnlyByWhatIsCertain) {
  // No point is better than another: all differences are the samples' noise.
  const std::vector<SearchItem> items(30, SearchItem{{100, 200, 300}});
  const auto fitness = [](const SearchPoint& point, const SearchData& data) -> Result<Costs> {
    std::uint64_t hash = 1469598103934665603u;
    for (const int level : point) hash = (hash ^ static_cast<std::uint64_t>(level)) * 1099511628211u;
    std::mt19937_64 random(hash + static_cast<std::uint64_t>(data.generation * 1000 + data.first));
    std::normal_distribution<double> noise(1.0, 0.1);
    Costs costs(static_cast<std::size_t>(data.tokens));
    for (double& cost : costs) cost = noise(random);
    return costs;
  };
  SearchOptions options{.budget = 6000, .generations = 200, .offspring = 8, .stages = {{2, 4}, {1, 32}}, .exact = true};
  const auto run = [&](double certainty) {
    options.certainty = certainty;
    return evolve(items, {.parent = SearchPoint(30, 1)}, options, fitness,
                  [](const SearchState&) -> Result<void> { return {}; })
        ->accepted;
  };
  const int any = run(0), likely = run(1), certain = run(3);
  EXPECT_GT(any, 120);  // the better of two: three in four would be 150, of which the parent's luck takes some
  EXPECT_LT(likely, any * 2 / 3);
  EXPECT_LT(certain, 10);
}

TEST(Evolution, RefusesAStartAboveTheBudget) {
  Toy toy;
  const auto refused = evolve(
      toy.items, {.parent = SearchPoint(12, 1)}, toy.options,
      [](const SearchPoint&, const SearchData&) -> Result<Costs> { return Costs{0.0}; },
      [](const SearchState&) -> Result<void> { return {}; });
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kInvalidArgument);
}

}  // namespace
}  // namespace kinglet
