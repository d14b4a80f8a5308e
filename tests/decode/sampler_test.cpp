#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "decode/sampler_chain.h"
#include "decode/softmax.h"

namespace kinglet {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

const std::vector<float> kLogits = {1.0f, -0.5f, 2.0f, 0.0f, 2.5f, -3.0f, 1.5f, 0.5f};

std::vector<double> softmax(std::vector<float> logits, double temperature = 1) {
  const double max = *std::max_element(logits.begin(), logits.end());
  std::vector<double> p;
  double sum = 0;
  for (float x : logits) sum += p.emplace_back(std::exp((x - max) / temperature));
  for (double& x : p) x /= sum;
  return p;
}

std::vector<double> only(std::vector<double> p, const std::vector<bool>& kept) {
  double sum = 0;
  for (std::size_t i = 0; i < p.size(); ++i) sum += p[i] = kept[i] ? p[i] : 0;
  for (double& x : p) x /= sum;
  return p;
}

/// Draws often and compares with the expected distribution: chi-square at about 5 standard deviations, nothing where
/// the expectation is 0. The draws are seeded, so the outcome is always the same.
void expect_distribution(const SamplerValues& values, const std::vector<double>& expected,
                         const std::vector<TokenId>& history = {}) {
  constexpr int kDraws = 40000;
  auto chain = SamplerChain::make(values, 7);
  ASSERT_TRUE(chain) << chain.error().message;
  for (TokenId id : history) chain->accept(id);
  std::vector<int> counts(expected.size());
  Candidates candidates;
  for (int i = 0; i < kDraws; ++i) {
    auto row = kLogits;
    candidates.reset(row);
    const auto id = chain->pick(candidates);
    ASSERT_TRUE(id);
    ++counts[static_cast<std::size_t>(*id)];
  }
  double chi = 0;
  int freedom = -1;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    if (expected[i] == 0) {
      EXPECT_EQ(counts[i], 0) << i;
      continue;
    }
    chi += std::pow(counts[i] - kDraws * expected[i], 2) / (kDraws * expected[i]);
    ++freedom;
  }
  EXPECT_LT(chi, freedom + 5 * std::sqrt(2.0 * freedom) + 1e-9);
}

TEST(Sampler, TemperatureOneIsTheModelsDistribution) { expect_distribution({{"temperature", 1}}, softmax(kLogits)); }

TEST(Sampler, TemperatureDividesTheLogits) {
  expect_distribution({{"temperature", 0.6}}, softmax(kLogits, 0.6));
  expect_distribution({{"temperature", 2}}, softmax(kLogits, 2));
}

TEST(Sampler, TopKKeepsTheBest) {
  expect_distribution({{"temperature", 1}, {"top-k", 3}},
                      only(softmax(kLogits), {false, false, true, false, true, false, true, false}));
}

TEST(Sampler, TopPKeepsTheNucleus) {
  // 0.40, 0.25, 0.15 come first; 0.75 needs the third.
  expect_distribution({{"temperature", 1}, {"top-p", 0.75}},
                      only(softmax(kLogits), {false, false, true, false, true, false, true, false}));
  expect_distribution({{"temperature", 1}, {"top-p", 0.0}}, {0, 0, 0, 0, 1, 0, 0, 0});
}

TEST(Sampler, MinPDropsTheUnlikely) {
  // exp(logit - 2.5) >= 0.3: logits from 1.296 on.
  expect_distribution({{"temperature", 1}, {"min-p", 0.3}},
                      only(softmax(kLogits), {false, false, true, false, true, false, true, false}));
}

TEST(Sampler, TypicalKeepsWhatIsNearestToTheEntropy) {
  const auto p = softmax(kLogits);
  double entropy = 0;
  for (double x : p) entropy -= x * std::log(x);
  std::vector<std::size_t> order(p.size());
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(),
            [&](auto a, auto b) { return std::abs(-std::log(p[a]) - entropy) < std::abs(-std::log(p[b]) - entropy); });
  std::vector<bool> kept(p.size());
  double reached = 0;
  for (std::size_t i = 0; reached < 0.5; ++i) reached += p[order[i]], kept[order[i]] = true;
  expect_distribution({{"temperature", 1}, {"typical", 0.5}}, only(p, kept));
}

TEST(Sampler, PenaltiesLookAtTheWindow) {
  auto logits = kLogits;
  const std::vector<TokenId> history = {6, 5, 4, 4, 1};
  logits[4] = logits[4] / 1.5f - 0.25f - 2 * 0.5f;
  logits[5] = logits[5] * 1.5f - 0.25f - 0.5f;
  logits[1] = logits[1] * 1.5f - 0.25f - 0.5f;
  expect_distribution({{"temperature", 1},
                       {"repetition-penalty", 1.5},
                       {"presence-penalty", 0.25},
                       {"frequency-penalty", 0.5},
                       {"penalty-window", 4}},
                      softmax(logits), history);
}

TEST(Sampler, PenaltiesAreUndoneByRollback) {
  const SamplerValues values = {{"repetition-penalty", 2}, {"penalty-window", 3}};
  auto chain = SamplerChain::make(values, 0), plain = SamplerChain::make(values, 0);
  for (TokenId id : {4, 2, 6}) chain->accept(id), plain->accept(id);
  for (TokenId id : {4, 4, 1, 0, 2}) chain->accept(id);
  chain->rollback(5);
  Candidates a, b;
  auto x = kLogits, y = kLogits;
  a.reset(x), b.reset(y);
  EXPECT_EQ(*chain->pick(a), *plain->pick(b));
  EXPECT_EQ(x, y);
  EXPECT_NE(x, kLogits);
}

TEST(Sampler, LogitBiasForcesAndForbids) {
  expect_distribution({{"temperature", 1}, {"logit-bias:4", -kInf}, {"logit-bias:99", 5}},
                      only(softmax(kLogits), {true, true, true, true, false, true, true, true}));
  auto chain = SamplerChain::make({{"logit-bias:5", 100}}, 0);  // greedy
  Candidates candidates;
  auto row = kLogits;
  candidates.reset(row);
  EXPECT_EQ(*chain->pick(candidates), 5);
}

TEST(Sampler, GreedyTakesTheLowestIdAmongEquals) {
  EXPECT_EQ(*SamplerChain::pick_best(std::vector<float>{1, 3, 3, 2}), 1);
  std::vector<float> wide(1000, -1);
  wide[700] = wide[43] = 2;
  EXPECT_EQ(*SamplerChain::pick_best(wide), 43);
}

TEST(Sampler, NanAndInfinityAreNotDrawnAsGarbage) {
  EXPECT_EQ(*SamplerChain::pick_best(std::vector<float>{kNan, 1, kNan, 5, -kInf}), 3);
  EXPECT_EQ(SamplerChain::pick_best(std::vector<float>{kNan, -kInf}).error().code, ErrorCode::kCorrupt);
  for (const SamplerValues& values : std::vector<SamplerValues>{{{"temperature", 1}},
                                                                {{"temperature", 1e-9}},
                                                                {{"temperature", 100}, {"top-p", 0.9}},
                                                                {{"temperature", 1}, {"min-p", 0.1}},
                                                                {{"temperature", 1}, {"typical", 0.9}},
                                                                {{"temperature", 1}, {"top-k", 2}}}) {
    auto chain = SamplerChain::make(values, 1);
    Candidates candidates;
    std::vector<float> row = {kNan, kInf, 3, -kInf, 1};
    candidates.reset(row);
    EXPECT_EQ(*chain->pick(candidates), 1);
    std::vector<float> nothing = {kNan, -kInf, kNan};
    candidates.reset(nothing);
    EXPECT_FALSE(chain->pick(candidates));
    std::vector<float> one = {-kInf, 0, kNan};
    candidates.reset(one);
    EXPECT_EQ(*chain->pick(candidates), 1);
  }
}

TEST(Sampler, ValuesOutOfRangeAreRefused) {
  EXPECT_FALSE(SamplerChain::make({{"temperature", -1}}, 0));
  EXPECT_FALSE(SamplerChain::make({{"temperature", kNan}}, 0));
  EXPECT_FALSE(SamplerChain::make({{"top-k", 1.5}}, 0));
  EXPECT_FALSE(SamplerChain::make({{"no-such", 1}}, 0));
}

TEST(Sampler, EveryOptionHasHelpAndAFallbackInItsRange) {
  for (const SamplerDescriptor* sampler : samplers()) {
    EXPECT_FALSE(sampler->help.empty());
    SamplerValues values;
    for (const SamplerOption& option : sampler->options) {
      EXPECT_FALSE(option.help.empty());
      values[std::string(option.name)] = option.fallback;
    }
    EXPECT_TRUE(check_sampler_values(values)) << sampler->name;
    EXPECT_EQ(sampler->make(values), nullptr) << sampler->name << ": the fallback changes nothing";
  }
}

std::vector<float> random_row(std::size_t size, std::uint64_t seed) {
  Random random(seed);
  std::vector<float> row(size);
  for (float& x : row) x = static_cast<float>(static_cast<int>(random.uniform() * 4000)) / 100 - 20;  // many equals
  return row;
}

std::vector<TokenId> sorted_ids(const std::vector<float>& row) {
  std::vector<TokenId> ids(row.size());
  std::iota(ids.begin(), ids.end(), 0);
  std::sort(ids.begin(), ids.end(), [&](TokenId a, TokenId b) { return row[a] != row[b] ? row[a] > row[b] : a < b; });
  return ids;
}

TEST(Candidates, KeepTopEqualsASort) {
  for (const std::size_t size : {1u, 5u, 1000u, 50000u}) {
    const auto row = random_row(size, size);
    const auto ids = sorted_ids(row);
    for (const std::size_t count : {1u, 4u, 40u, 700u, 60000u}) {
      auto copy = row;
      Candidates candidates;
      candidates.reset(copy);
      candidates.keep_top(count);
      ASSERT_EQ(candidates.size(), std::min(count, size));
      for (std::size_t i = 0; i < candidates.size(); ++i) {
        ASSERT_EQ(candidates.id(i), ids[i]);
        ASSERT_EQ(candidates.logits()[i], row[static_cast<std::size_t>(ids[i])]);
      }
    }
  }
}

TEST(Candidates, KeepMassEqualsASort) {
  for (const float scale : {0.01f, 0.3f, 3.0f}) {
    auto row = random_row(30000, 3);
    for (float& x : row) x *= scale;
    const auto ids = sorted_ids(row);
    const auto p = softmax(row);
    for (const double mass : {0.0, 0.1, 0.5, 0.9, 0.999}) {
      auto copy = row;
      Candidates candidates;
      candidates.reset(copy);
      candidates.keep_mass(mass);
      double sum = 0;
      for (std::size_t i = 0; i < candidates.size(); ++i) {
        ASSERT_EQ(candidates.id(i), ids[i]);
        sum += p[static_cast<std::size_t>(ids[i])];
      }
      EXPECT_GE(sum, mass - 1e-6);
      if (candidates.size() > 1) EXPECT_LT(sum - p[static_cast<std::size_t>(ids[candidates.size() - 1])], mass + 1e-6);
    }
  }
}

TEST(Candidates, KeepAboveKeepsAtLeastTheBest) {
  auto row = random_row(100, 9);
  Candidates candidates;
  candidates.reset(row);
  candidates.keep_above(kInf);
  EXPECT_GE(candidates.size(), 1u);
  EXPECT_EQ(candidates.logits()[0], *std::max_element(row.begin(), row.end()));
}

TEST(Softmax, ExpIsCloseToLibm) {
  for (float x = 0; x > -86; x -= 0.0137f)
    EXPECT_NEAR(exp_nonpositive(x) / std::exp(static_cast<double>(x)), 1, 3e-7) << x;
  EXPECT_EQ(exp_nonpositive(0), 1);
  EXPECT_EQ(exp_nonpositive(-kInf), 0);
  EXPECT_EQ(exp_nonpositive(-1000), 0);
  EXPECT_EQ(exp_nonpositive(kNan), 0);
}

TEST(Softmax, LogSumExpOfLargeRows) {
  const auto row = random_row(5003, 4);
  double sum = 0;
  for (float x : row) sum += std::exp(static_cast<double>(x));
  EXPECT_NEAR(log_sum_exp(row), std::log(sum), 1e-6);
  EXPECT_EQ(log_sum_exp(std::vector<float>{-kInf, kNan}), -kInf);
}

TEST(Random, IsTheSameEverywhere) {
  // xoshiro256++ from the state that splitmix64 gives for 0, computed with an independent program in Python.
  Random random(0);
  EXPECT_EQ(random.next(), 0x53175d61490b23dfu);
  EXPECT_EQ(random.next(), 0x61da6f3dc380d507u);
}

}  // namespace
}  // namespace kinglet
