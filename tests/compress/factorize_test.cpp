// Eigenvectors, the best thin factors, and the ranks that a rule or a budget gives.
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "base/thread_pool.h"
#include "compress/calibration/moments.h"
#include "compress/factorize/low_rank.h"
#include "compress/factorize/ranks.h"
#include "compress/factorize/symmetric_eigen.h"

namespace kinglet {
namespace {

using Floats = std::vector<float>;

Floats random_values(std::size_t count, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal;
  Floats values(count);
  for (float& value : values) value = normal(random);
  return values;
}

std::vector<double> random_symmetric(std::size_t n, std::uint64_t seed) {
  const Floats half = random_values(n * n, seed);
  std::vector<double> matrix(n * n);
  for (std::size_t r = 0; r < n; ++r) {
    for (std::size_t c = 0; c < n; ++c) matrix[r * n + c] = double(half[r * n + c]) + double(half[c * n + r]);
  }
  return matrix;
}

TEST(SymmetricEigen, RebuildsTheMatrix) {
  ThreadPool pool(2);
  for (std::size_t n : {1, 2, 3, 17, 64, 130}) {
    const auto matrix = random_symmetric(n, n);
    const auto eigen = symmetric_eigen(matrix, std::int64_t(n), std::int64_t(n), pool);
    for (std::size_t k = 1; k < n; ++k) EXPECT_GE(eigen.values[k - 1], eigen.values[k]);
    double worst = 0, skew = 0;
    for (std::size_t r = 0; r < n; ++r) {
      for (std::size_t c = 0; c < n; ++c) {
        double sum = 0, product = 0;
        for (std::size_t k = 0; k < n; ++k) {
          sum += eigen.values[k] * eigen.vectors[k * n + r] * eigen.vectors[k * n + c];
          product += eigen.vectors[r * n + k] * eigen.vectors[c * n + k];
        }
        worst = std::max(worst, std::abs(sum - matrix[r * n + c]));
        skew = std::max(skew, std::abs(product - (r == c ? 1 : 0)));
      }
    }
    EXPECT_LT(worst, 1e-12 * double(n)) << n;
    EXPECT_LT(skew, 1e-13 * double(n)) << n;
  }
}

TEST(SymmetricEigen, TakesRepeatedAndZeroEigenvalues) {
  ThreadPool pool(1);
  std::vector<double> matrix(25);
  EXPECT_EQ(symmetric_eigen(matrix, 5, 5, pool).values, std::vector<double>(5));
  for (std::size_t i = 0; i < 5; ++i) matrix[i * 6] = i < 3 ? 2 : -1;
  const auto eigen = symmetric_eigen(matrix, 5, 2, pool);
  EXPECT_EQ(eigen.values, (std::vector<double>{2, 2, 2, -1, -1}));
  EXPECT_EQ(eigen.vectors.size(), 10u);
}

TEST(SymmetricEigen, GivesTheSameBitsForAnyThreads) {
  const auto matrix = random_symmetric(230, 5);
  ThreadPool one(1), three(3);
  const auto a = symmetric_eigen(matrix, 230, 40, one), b = symmetric_eigen(matrix, 230, 40, three);
  EXPECT_EQ(a.values, b.values);
  EXPECT_EQ(a.vectors, b.vectors);
}

struct Sample {
  std::int64_t outputs, inputs;
  Floats weights, moment;
  LowRankProblem problem(bool whiten) const {
    return {.weights = weights,
            .outputs = outputs,
            .inputs = inputs,
            .moment = whiten ? std::span<const float>(moment) : std::span<const float>(),
            .damping = 1e-6};
  }
  /// sum over the inputs of |(W - D E) x|^2, or |W - D E|^2.
  double error(const ThinFactors& thin, std::int64_t rank, bool weighted) const {
    std::vector<double> rest(weights.begin(), weights.end());
    for (std::int64_t o = 0; o < outputs; ++o) {
      for (std::int64_t k = 0; k < rank; ++k) {
        for (std::int64_t i = 0; i < inputs; ++i)
          rest[std::size_t(o * inputs + i)] -=
              double(thin.decoder[std::size_t(o * rank + k)]) * thin.encoder[std::size_t(k * inputs + i)];
      }
    }
    double sum = 0;
    for (std::int64_t o = 0; o < outputs; ++o) {
      const double* row = rest.data() + o * inputs;
      for (std::int64_t i = 0; i < inputs; ++i) {
        if (!weighted) sum += row[i] * row[i];
        for (std::int64_t j = 0; weighted && j < inputs; ++j)
          sum += row[i] * row[j] * moment[std::size_t(i * inputs + j)];
      }
    }
    return sum;
  }
};

Sample sample(std::int64_t outputs, std::int64_t inputs, ThreadPool& pool) {
  Sample made{outputs, inputs, random_values(std::size_t(outputs * inputs), 3), {}};
  Floats rows = random_values(std::size_t(200 * inputs), 4);
  for (std::size_t i = 0; i < rows.size(); ++i) rows[i] *= 1 + 10 * float(i % std::size_t(inputs) % 5 == 0);
  MomentSum sum(inputs);
  sum.add(rows, rows, pool);
  made.moment = sum.sum();
  return made;
}

class LowRankShape : public testing::TestWithParam<std::pair<int, int>> {
 protected:
  ThreadPool pool{2};
  Sample made = sample(GetParam().first, GetParam().second, pool);
};

TEST_P(LowRankShape, TheErrorIsWhatTheDroppedSingularValuesSay) {
  for (bool whiten : {false, true}) {
    const LowRankProblem problem = made.problem(whiten);
    const std::int64_t full = std::min(made.outputs, made.inputs);
    const auto solution = LowRankSolution::solve(problem, full, pool);
    ASSERT_TRUE(solution) << solution.error().text();
    ASSERT_EQ(std::int64_t(solution->energies().size()), full);
    double before = INFINITY;
    for (std::int64_t rank : {std::int64_t{1}, full / 3, full / 2, full - 1}) {
      double dropped = 0;
      for (std::int64_t k = rank; k < full; ++k) dropped += solution->energies()[std::size_t(k)];
      for (bool balanced : {false, true}) {
        const double error = made.error(solution->factors(problem, rank, balanced, pool), rank, whiten);
        EXPECT_NEAR(error, dropped, 0.001 * dropped + 1e-4) << rank << whiten << balanced;
        EXPECT_LT(error, before * 1.001);
      }
      before = dropped;
    }
    EXPECT_LT(made.error(solution->factors(problem, full, false, pool), full, false), 1e-6 * double(full * full));
  }
}

TEST_P(LowRankShape, WhiteningLosesLessOfTheOutputsAndMoreOfTheWeights) {
  const std::int64_t rank = std::min(made.outputs, made.inputs) / 3;
  const auto plain = LowRankSolution::solve(made.problem(false), rank, pool).value();
  const auto white = LowRankSolution::solve(made.problem(true), rank, pool).value();
  const ThinFactors a = plain.factors(made.problem(false), rank, false, pool);
  const ThinFactors b = white.factors(made.problem(true), rank, false, pool);
  const ThinFactors c = random_factors(made.problem(false), rank, 1);
  EXPECT_LT(made.error(b, rank, true), 0.8 * made.error(a, rank, true));
  EXPECT_LT(made.error(a, rank, false), made.error(b, rank, false));
  EXPECT_LT(made.error(a, rank, true), made.error(c, rank, true));
}
INSTANTIATE_TEST_SUITE_P(Shapes, LowRankShape,
                         testing::Values(std::pair(40, 40), std::pair(25, 60), std::pair(72, 30)));

TEST(LowRank, RefusesMomentsThatAreNotFinite) {
  ThreadPool pool(1);
  Sample made = sample(30, 20, pool);
  made.moment[5] = made.moment[100] = NAN;
  EXPECT_FALSE(LowRankSolution::solve(made.problem(true), 4, pool));
}

RankedMatrix matrix(std::int64_t outputs, std::int64_t inputs, const char* type = "F32") {
  const BlockType* of = find_block_type(type);
  return {"m", outputs, inputs, std::uint64_t(outputs) * of->row_bytes(std::uint64_t(inputs)), of};
}

std::int64_t rank_of(const RankRule& rule, RankedMatrix of) {
  choose_ranks(rule, {&of, 1});
  return of.rank;
}

TEST(Ranks, BreakEvenIsWhereFactorsAreAsLarge) {
  EXPECT_EQ(break_even_rank(576, 576), 288);
  EXPECT_EQ(break_even_rank(192, 576), 144);
  EXPECT_EQ(break_even_rank(1536, 576), 418);
}

TEST(Ranks, FollowTheRatioAndSaveOrStayWhole) {
  EXPECT_EQ(rank_of({.ratio = 0.75, .multiple = 1}, matrix(1536, 576)), 313);
  EXPECT_EQ(rank_of({.ratio = 0.75}, matrix(1536, 576)), 288);
  EXPECT_EQ(rank_of({.ratio = 200}, matrix(1536, 576)), 192);
  EXPECT_EQ(rank_of({.ratio = 5}, matrix(1536, 576)), 5);
  EXPECT_EQ(rank_of({.ratio = 0.95, .multiple = 1}, matrix(1536, 576)), 0);  // less than a tenth smaller
  EXPECT_EQ(rank_of({.ratio = 0.95, .multiple = 1, .min_gain = 0}, matrix(1536, 576)), 397);
  EXPECT_EQ(rank_of({.ratio = 576, .force = true}, matrix(1536, 576)), 576);
  EXPECT_EQ(rank_of({.ratio = 9999, .force = true}, matrix(1536, 576)), 576);
}

TEST(Ranks, KeepTheAskedShareOfTheOutputs) {
  RankedMatrix of = matrix(64, 64);
  for (int i = 0; i < 64; ++i) of.energies.push_back(i < 8 ? 10 : 0.1);
  EXPECT_EQ(rank_of({.energy = 0.5, .multiple = 1}, of), 5);
  EXPECT_EQ(rank_of({.energy = 0.5, .multiple = 4}, of), 8);
  EXPECT_EQ(rank_of({.energy = 0.99, .multiple = 1}, of), 0);  // more than the break-even rank
  EXPECT_NEAR(of.lost(8), 5.6 / 85.6, 1e-9);
}

TEST(Ranks, SpendABudgetWhereItCountsMost) {
  std::vector<RankedMatrix> all{matrix(128, 128), matrix(128, 128)};
  for (RankedMatrix& each : all) {
    for (int i = 0; i < 128; ++i) each.energies.push_back(std::pow(0.97, i));
  }
  all[0].sensitivity = 20;
  const std::uint64_t budget = all[0].bytes + all[1].bytes / 2;
  ASSERT_TRUE(choose_ranks_within({.multiple = 8}, budget, all));
  const auto bytes = [](const RankedMatrix& each) {
    return each.rank == 0 ? each.bytes : each.factor_bytes(each.rank);
  };
  EXPECT_LE(bytes(all[0]) + bytes(all[1]), budget);
  EXPECT_GT(bytes(all[0]), bytes(all[1]));
  EXPECT_FALSE(choose_ranks_within({.multiple = 8}, 1000, all));
}

}  // namespace
}  // namespace kinglet
