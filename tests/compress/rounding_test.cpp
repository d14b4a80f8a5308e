#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>

#include "base/cpu.h"
#include "base/thread_pool.h"
#include "compress/calibration/moments.h"
#include "compress/quantize/compensate.h"
#include "compress/quantize/rounding_kernels.h"

namespace kinglet {
namespace {

/// Inputs of which each leans on its neighbour, as a model's do.
std::vector<float> correlated_rows(int rows, int inputs, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> x(static_cast<std::size_t>(rows * inputs));
  for (int t = 0; t < rows; ++t) {
    float before = 0;
    for (int i = 0; i < inputs; ++i) {
      before = 0.9f * before + 0.4f * normal(random) * (i % 7 == 0 ? 4.0f : 1.0f);
      x[static_cast<std::size_t>(t * inputs + i)] = before;
    }
  }
  return x;
}

std::vector<float> gaussian(int count, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, 0.05f);
  std::vector<float> values(static_cast<std::size_t>(count));
  for (float& value : values) value = normal(random);
  return values;
}

std::vector<float> damped_moment(const std::vector<float>& x, int inputs, ThreadPool& pool) {
  MomentSum sum(inputs);
  sum.add(x, x, pool);
  std::vector<float> moment = sum.sum();
  float mean = 0;
  for (int i = 0; i < inputs; ++i)
    mean += moment[static_cast<std::size_t>(i * inputs + i)] / static_cast<float>(inputs);
  for (int i = 0; i < inputs; ++i) moment[static_cast<std::size_t>(i * inputs + i)] += 0.01f * mean;
  return moment;
}

double cost(const BlockType& type, const std::vector<std::byte>& bytes, const std::vector<float>& targets,
            const std::vector<float>& moment, int inputs) {
  std::vector<float> values(targets.size());
  type.decode(bytes.data(), values.size() / static_cast<std::size_t>(type.block_values), values.data());
  double total = 0;
  for (std::size_t row = 0; row < targets.size(); row += static_cast<std::size_t>(inputs)) {
    for (int i = 0; i < inputs; ++i) {
      double gradient = 0;
      for (int j = 0; j < inputs; ++j) {
        gradient += double(moment[static_cast<std::size_t>(i * inputs + j)]) *
                    (double(values[row + static_cast<std::size_t>(j)]) - targets[row + static_cast<std::size_t>(j)]);
      }
      total +=
          gradient * (double(values[row + static_cast<std::size_t>(i)]) - targets[row + static_cast<std::size_t>(i)]);
    }
  }
  return total;
}

struct Rounded {
  std::vector<std::byte> bytes;
  CompensateReport report;
};

Rounded round(const BlockType& type, const std::vector<float>& targets, int inputs, const std::vector<float>& moment,
              const CompensateOptions& options, ThreadPool& pool) {
  OrderedMoments moments(moment, inputs);
  const auto rows = static_cast<std::int64_t>(targets.size()) / inputs;
  Rounded rounded;
  rounded.bytes.resize(static_cast<std::size_t>(rows) * type.row_bytes(static_cast<std::uint64_t>(inputs)));
  const auto report = round_compensated(type, targets, rows, moments, options, pool, rounded.bytes.data());
  EXPECT_TRUE(report);
  rounded.report = *report;
  return rounded;
}

TEST(Moments, EqualTheSumsForAnyThreads) {
  const int rows = 37, left = 50, right = 66;
  const std::vector<float> x = gaussian(rows * left, 1), y = gaussian(rows * right, 2);
  ThreadPool one(1), three(3);
  MomentSum a(left, right), b(left, right), own(left);
  a.add(x, y, one);
  b.add(x, y, three);
  own.add(x, x, three);
  EXPECT_EQ(a.sum(), b.sum());
  for (int i = 0; i < left; ++i) {
    for (int j = 0; j < right; ++j) {
      double want = 0, want_own = 0;
      for (int t = 0; t < rows; ++t) {
        want += double(x[static_cast<std::size_t>(t * left + i)]) * y[static_cast<std::size_t>(t * right + j)];
        if (j < left)
          want_own += double(x[static_cast<std::size_t>(t * left + i)]) * x[static_cast<std::size_t>(t * left + j)];
      }
      EXPECT_NEAR(a.sum()[static_cast<std::size_t>(i * right + j)], want, 1e-5);
      if (j < left) EXPECT_NEAR(own.sum()[static_cast<std::size_t>(i * left + j)], want_own, 1e-5);
    }
  }
}

TEST(Factor, GivesTheMatrixBack) {
  const int n = 48;
  ThreadPool pool(1);
  const std::vector<float> moment = damped_moment(correlated_rows(200, n, 3), n, pool);
  const auto factor = factorise(moment, n, pool);
  ASSERT_TRUE(factor);
  const auto u = [&](int i, int k) { return i == k ? 1.0 : i < k ? double(factor->column(k)[i]) : 0.0; };
  for (int i = 0; i < n; ++i) {
    for (int j = 0; j < n; ++j) {
      double sum = 0;
      for (int k = 0; k < n; ++k) sum += u(i, k) * factor->pivots[static_cast<std::size_t>(k)] * u(j, k);
      EXPECT_NEAR(sum, moment[static_cast<std::size_t>(i * n + j)], 1e-3 * moment[0]);
    }
  }
}

TEST(Factor, SolvesAndRefuses) {
  const int n = 32;
  ThreadPool pool(1);
  std::vector<float> moment = damped_moment(correlated_rows(200, n, 4), n, pool);
  const auto factor = factorise(moment, n, pool);
  ASSERT_TRUE(factor);
  const std::vector<float> z = gaussian(n * kRoundingLanes, 5);
  std::vector<float> r(z.size());
  for (int j = 0; j < n; ++j) {
    for (int lane = 0; lane < kRoundingLanes; ++lane) {
      double sum = 0;
      for (int i = 0; i < n; ++i)
        sum += double(z[static_cast<std::size_t>(i * kRoundingLanes + lane)]) *
               moment[static_cast<std::size_t>(i * n + j)];
      r[static_cast<std::size_t>(j * kRoundingLanes + lane)] = static_cast<float>(sum);
    }
  }
  solve(*factor, r.data());
  for (std::size_t i = 0; i < z.size(); ++i) EXPECT_NEAR(r[i], z[i], 2e-3);
  moment[5 * n + 5] = -1;
  const auto refused = factorise(moment, n, pool);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kInvalidArgument);
}

TEST(Factor, IsThatOfTheRowByRowSumsForAnyThreads) {
  // Panels of 32, a last one that is not full, and products longer than a piece.
  for (const int n : {5, 32, 33, 70, 580}) {
    ThreadPool one(1), three(3);
    const std::vector<float> moment = damped_moment(correlated_rows(2 * n, n, 15), n, one);
    const auto at = [&](int i, int j) { return moment[static_cast<std::size_t>((n - 1 - i) * n + n - 1 - j)]; };
    std::vector<double> lower(static_cast<std::size_t>(n * n));
    const auto factor = factorise(moment, n, one), again = factorise(moment, n, three);
    ASSERT_TRUE(factor && again);
    EXPECT_EQ(factor->triangle, again->triangle);
    EXPECT_EQ(factor->pivots, again->pivots);
    for (int i = 0; i < n; ++i) {
      for (int j = 0; j <= i; ++j) {
        double sums[8] = {};
        for (int k = 0; k < j; ++k)
          sums[k % 8] += lower[static_cast<std::size_t>(i * n + k)] * lower[static_cast<std::size_t>(j * n + k)];
        const double rest =
            at(i, j) - (((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7])));
        lower[static_cast<std::size_t>(i * n + j)] =
            j < i ? rest / lower[static_cast<std::size_t>(j * n + j)] : std::sqrt(rest);
      }
    }
    for (int k = 0; k < n; ++k) {
      const double pivot = lower[static_cast<std::size_t>((n - 1 - k) * n + n - 1 - k)];
      EXPECT_EQ(factor->pivots[static_cast<std::size_t>(k)], static_cast<float>(pivot * pivot));
      for (int i = 0; i < k; ++i)
        ASSERT_EQ(factor->column(k)[i],
                  static_cast<float>(lower[static_cast<std::size_t>((n - 1 - i) * n + n - 1 - k)] / pivot))
            << n << " " << k << " " << i;
    }
  }
}

TEST(Factor, OrdersGoAndComeBack) {
  const int n = 64;
  ThreadPool pool(1);
  const std::vector<float> moment = damped_moment(correlated_rows(200, n, 16), n, pool);
  OrderedMoments moments(moment, n);
  moments.damp(0.1);
  const std::vector<float> damped(moments.moment(InputOrder::kNatural).begin(),
                                  moments.moment(InputOrder::kNatural).end());
  EXPECT_GT(damped[0], moment[0]);
  const auto turned = moments.moment(InputOrder::kTrellis);
  // Coding order takes each fourth input first.
  EXPECT_EQ(turned[static_cast<std::size_t>(1 * n + 34)], damped[static_cast<std::size_t>(4 * n + 40)]);
  const auto natural = moments.moment(InputOrder::kNatural);
  EXPECT_TRUE(std::equal(natural.begin(), natural.end(), damped.begin(), damped.end()));
  moments.moment(InputOrder::kTrellis);
  EXPECT_EQ(moments.undamped(), moment);
}

TEST(Compensate, BeatsPlainRoundingForEveryType) {
  const int inputs = 256, rows = 20;
  ThreadPool pool(2);
  const std::vector<float> moment = damped_moment(correlated_rows(600, inputs, 6), inputs, pool);
  const std::vector<float> targets = gaussian(rows * inputs, 7);
  for (const BlockType* type : block_types()) {
    const int bits = type->form.trellis != nullptr ? type->form.trellis_bits : type->form.bits;
    if (type->encode == nullptr || bits == 0 || bits > 6) continue;
    std::vector<std::byte> plain(rows * type->row_bytes(inputs));
    type->encode(targets.data(), targets.size() / static_cast<std::size_t>(type->block_values), nullptr, plain.data());
    const double plain_cost = cost(*type, plain, targets, moment, inputs);
    const Rounded first = round(*type, targets, inputs, moment, {.sweeps = 0, .report_errors = true}, pool);
    const Rounded swept = round(*type, targets, inputs, moment, {.sweeps = 2, .report_errors = true}, pool);
    EXPECT_LT(cost(*type, first.bytes, targets, moment, inputs), 0.7 * plain_cost) << type->name;
    EXPECT_LT(cost(*type, swept.bytes, targets, moment, inputs), cost(*type, first.bytes, targets, moment, inputs))
        << type->name;
    // What is reported is what was written.
    EXPECT_EQ(swept.report.inexact_blocks, 0) << type->name;
    EXPECT_NEAR(swept.report.error, cost(*type, swept.bytes, targets, moment, inputs), 0.01 * swept.report.error)
        << type->name;
  }
}

TEST(Compensate, KeepsWhatTheTypeCanSay) {
  const int inputs = 256, rows = 3;
  ThreadPool pool(1);
  const std::vector<float> moment = damped_moment(correlated_rows(300, inputs, 8), inputs, pool);
  for (std::string_view name : {"Q4_1", "Q4_K", "Q3_K", "IQ4_XS", "Q8_0"}) {
    const BlockType& type = *find_block_type(name);
    std::vector<float> values = gaussian(rows * inputs, 9);
    std::vector<std::byte> bytes(rows * type.row_bytes(inputs));
    const std::size_t blocks = values.size() / static_cast<std::size_t>(type.block_values);
    type.encode(values.data(), blocks, nullptr, bytes.data());
    type.decode(bytes.data(), blocks, values.data());
    const Rounded again = round(type, values, inputs, moment, {}, pool);
    EXPECT_EQ(cost(type, again.bytes, values, moment, inputs), 0) << name;
  }
}

TEST(Compensate, SameBitsForAnyThreads) {
  const int inputs = 192, rows = 50;
  ThreadPool one(1), three(3);
  const std::vector<float> moment = damped_moment(correlated_rows(300, inputs, 10), inputs, one);
  const std::vector<float> targets = gaussian(rows * inputs, 11);
  for (std::string_view name : {"Q4_0", "IQ4_NL", "Q5_1", "K2", "K3", "K6"}) {
    const BlockType& type = *fitting_block_type(*find_block_type(name), inputs);
    EXPECT_EQ(round(type, targets, inputs, moment, {}, one).bytes,
              round(type, targets, inputs, moment, {}, three).bytes);
  }
}

TEST(Compensate, KernelsGiveTheSameBitsOnEveryInstructionSet) {
  const int inputs = 96, group = 32, begin = 32;
  ThreadPool pool(1);
  const std::vector<float> moment = damped_moment(correlated_rows(300, inputs, 12), inputs, pool);
  const std::vector<float> targets = gaussian(inputs * kRoundingLanes, 13),
                           errors = gaussian(inputs * kRoundingLanes, 14);
  LaneGroup grid;
  for (int lane = 0; lane < kRoundingLanes; ++lane)
    grid.scale[lane] = 0.01f + 0.002f * static_cast<float>(lane), grid.minimum[lane] = 0.1f;
  const LevelSet set{.low = 0, .high = 15};
  std::vector<std::vector<float>> results;
  for (Isa isa : supported_isas()) {
    const RoundingKernels& kernels = rounding_kernels(isa);
    std::vector<float> all(kRoundingLanes, 1.0f), own = errors, levels(group * kRoundingLanes),
                                                  c(group * kRoundingLanes), sums(5 * kRoundingLanes);
    kernels.accumulate(moment.data(), errors.data(), inputs - 1, all.data());
    kernels.gradients(moment.data(), inputs, begin, group, errors.data(), c.data());
    kernels.descend(set, grid, moment.data(), inputs, begin, group, 2, targets.data() + begin * kRoundingLanes,
                    own.data() + begin * kRoundingLanes, levels.data(), c.data());
    kernels.group_sums(moment.data(), inputs, begin, group, levels.data(), c.data(), sums.data());
    kernels.spread(moment.data(), c.data(), inputs, own.data());
    const BlockType& trellis = *find_block_type("K3");
    std::uint8_t windows[32 * kRoundingLanes];
    float cost[kRoundingLanes];
    const std::vector<float> fed(32 * kRoundingLanes), weights(32, 1.0f), scales(kRoundingLanes, 0.001f);
    kernels.trellis({.states = 8,
                     .choices = 4,
                     .levels = trellis.form.trellis,
                     .scales = scales.data(),
                     .targets = targets.data(),
                     .fed = fed.data(),
                     .feedback = moment.data(),
                     .stride = inputs,
                     .weights = weights.data()},
                    windows, cost);
    const std::vector<double> wide(moment.begin(), moment.end());
    const double* lines[kDotRows + kDotColumns];
    for (int i = 0; i < kDotRows + kDotColumns; ++i) lines[i] = wide.data() + i * inputs;
    double dots[kDotRows * kDotColumns * kDotChains] = {};
    kernels.dots(lines, lines + kDotRows, 64, dots);
    const double whole = kernels.dot_end(wide.data() + 64, wide.data() + inputs + 64, inputs - 67, dots);
    const auto* bits = reinterpret_cast<const float*>(dots);
    all.insert(all.end(), bits, bits + 2 * std::size(dots));
    all.insert(all.end(), {static_cast<float>(whole), static_cast<float>(whole - static_cast<float>(whole))});
    all.insert(all.end(), windows, windows + 32 * kRoundingLanes);
    all.insert(all.end(), cost, cost + kRoundingLanes);
    for (const auto& part : {own, levels, c, sums}) all.insert(all.end(), part.begin(), part.end());
    results.push_back(std::move(all));
  }
  for (const auto& each : results)
    EXPECT_EQ(std::memcmp(each.data(), results[0].data(), each.size() * sizeof(float)), 0);
}

}  // namespace
}  // namespace kinglet
