#include "kinglet/route.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>
#include <numeric>

#include "decode/random.h"
#include "kinglet/pair.h"

namespace kinglet {
namespace {

double score(const char* name, std::vector<float> logits) { return (*find_route_score(name))->score(logits); }

TEST(RouteScores, AgreeWithTheirFormulas) {
  const std::vector<float> logits = {1, 2, 4};
  const double total = std::exp(1.0) + std::exp(2.0) + std::exp(4.0);
  EXPECT_NEAR(score("energy", logits), std::log(total), 1e-6);
  EXPECT_NEAR(score("max-prob", logits), std::exp(4.0) / total, 1e-6);
  double entropy = 0, energy = 0;
  for (const double x : {1.0, 2.0, 4.0}) {
    const double p = std::exp(x) / total;
    entropy += p * std::log(p);
    energy += std::exp(p);
  }
  EXPECT_NEAR(score("entropy", logits), entropy, 1e-6);
  EXPECT_NEAR(score("energy-prob", logits), std::log(energy), 1e-6);
  // The range that the published thresholds lie in.
  EXPECT_NEAR(score("energy-prob", {0, 0}), 1.193147, 1e-5);
  EXPECT_NEAR(score("energy-prob", {100, 0}), 1.313262, 1e-5);
  EXPECT_NEAR(score("energy", {300, 300}), 300 + std::log(2), 1e-4);  // no overflow
  EXPECT_FALSE(find_route_score("none").has_value());
}

TEST(RouteScores, OfTwoAnswersTheProbabilityFormOrdersAsMaxProbDoes) {
  Random random(7);
  std::vector<std::vector<float>> items;
  for (int i = 0; i < 200; ++i)
    items.push_back({static_cast<float>(8 * random.uniform()), static_cast<float>(8 * random.uniform())});
  const auto order = [&](const char* name) {
    std::vector<std::size_t> indices(items.size());
    std::iota(indices.begin(), indices.end(), 0);
    std::sort(indices.begin(), indices.end(),
              [&](std::size_t a, std::size_t b) { return score(name, items[a]) < score(name, items[b]); });
    return indices;
  };
  EXPECT_EQ(order("energy-prob"), order("max-prob"));
  EXPECT_NE(order("energy"), order("max-prob"));
}

std::vector<RoutedItem> some_items() {
  // Sure and right, sure and wrong where the other is right, unsure; the last two have one score.
  return {{.score = 3, .swift_right = true, .super_right = false, .swift_cost = 1, .super_cost = 10},
          {.score = 2, .swift_right = true, .super_right = true, .swift_cost = 1, .super_cost = 10},
          {.score = 1, .swift_right = false, .super_right = true, .swift_cost = 1, .super_cost = 10},
          {.score = 1, .swift_right = false, .super_right = true, .swift_cost = 1, .super_cost = 30}};
}

TEST(RouteCurve, HasEveryCutAndBothEnds) {
  const auto curve = *route_curve(some_items());
  ASSERT_EQ(curve.size(), 4u);  // none, one, two, all: equal scores stay together
  EXPECT_EQ(curve.front().share, 0);
  EXPECT_EQ(curve.front().accuracy, 0.75);
  EXPECT_EQ(curve.front().cost, 16);
  EXPECT_EQ(curve[1].accuracy, 1);
  EXPECT_EQ(curve[2].accuracy, 1);
  EXPECT_EQ(curve[2].cost, 11);
  EXPECT_EQ(curve[2].threshold, 2);
  EXPECT_EQ(curve.back().share, 1);
  EXPECT_EQ(curve.back().accuracy, 0.5);
  EXPECT_EQ(curve.back().cost, 1);
  EXPECT_EQ(curve.back().threshold, -std::numeric_limits<double>::max());
  EXPECT_NEAR(area_under(curve), 0.25 * (0.875 + 1) + 0.5 * 0.75, 1e-12);
  EXPECT_EQ(choose_point(curve, RouteGoal::kBest, 0).share, 0.5);
  EXPECT_EQ(choose_point(curve, RouteGoal::kSuper, 0).share, 0.5);
  EXPECT_EQ(choose_point(curve, RouteGoal::kShare, 0.3).share, 0.5);
  EXPECT_EQ(choose_point(curve, RouteGoal::kShare, 0.9).share, 1);
}

TEST(RouteCurve, RefusesWhatCannotBeOrdered) {
  EXPECT_FALSE(route_curve({}).has_value());
  auto items = some_items();
  items[1].score = std::nan("");
  EXPECT_FALSE(route_curve(items).has_value());
}

TEST(RouteFile, ReadsBackWhatWasWritten) {
  const std::string path = testing::TempDir() + "/pair.route";
  RouteFile route;
  route.swift = "a";
  route.swift_sha256 = "b";
  route.super = "c";
  route.super_sha256 = "d";
  route.score = "energy";
  route.generates = true;
  route.steps = 8;
  route.threshold = -std::numeric_limits<double>::max();
  route.swift_cost = 1;
  route.curve = *route_curve(some_items());
  ASSERT_TRUE(write_route_file(path, route).has_value());
  const auto read = read_route_file(**open_checkpoint(path));
  ASSERT_TRUE(read.has_value()) << read.error().text();
  EXPECT_EQ(read->super_sha256, "d");
  EXPECT_EQ(read->threshold, route.threshold);
  EXPECT_EQ(read->steps, 8);
  ASSERT_EQ(read->curve.size(), route.curve.size());
  EXPECT_EQ(read->curve[2].threshold, route.curve[2].threshold);
  std::swap(route.curve[0], route.curve[2]);  // shares no longer ascend
  ASSERT_TRUE(write_route_file(path, route).has_value());
  EXPECT_EQ(read_route_file(**open_checkpoint(path)).error().code, ErrorCode::kCorrupt);
  std::filesystem::remove(path);
}

TEST(PairPolicies, AGuardObjectsByTheRatioOfBothProbabilities) {
  const std::vector<float> reference = {0, 3, 1};  // token 1 is its best
  const double total = std::log(std::exp(0.0) + std::exp(3.0) + std::exp(1.0));
  const auto guard = [](double ratio) { return *make_pair_policy("cleangen", {.ratio = ratio}); };
  const double sure = std::log(0.9), ratio = 0.9 / std::exp(0 - total);
  EXPECT_FALSE(guard(ratio * 1.01)->objection(reference, 0, sure));
  ASSERT_TRUE(guard(ratio * 0.99)->objection(reference, 0, sure));
  EXPECT_NEAR(*guard(ratio * 0.99)->objection(reference, 0, sure), std::log(ratio), 1e-5);
  EXPECT_FALSE(guard(0)->objection(reference, 1, sure));  // its own best would replace itself
  EXPECT_TRUE(guard(0)->objection(reference, 2, -50));
  const double infinity = std::numeric_limits<double>::infinity();
  EXPECT_FALSE(guard(infinity)->objection(reference, 0, 0));
  const std::vector<float> refuses = {-static_cast<float>(infinity), 3, 1};
  EXPECT_TRUE(guard(1e300)->objection(refuses, 0, sure));  // no probability at all
  EXPECT_FALSE(make_pair_policy("none", {}).has_value());
}

}  // namespace
}  // namespace kinglet
