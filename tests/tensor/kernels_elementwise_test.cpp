#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <random>
#include <vector>

#include "tensor/kernels/elementwise.h"

namespace kinglet {
namespace {

using Values = std::vector<float>;

Values random_values(std::int64_t n, float spread, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, spread);
  Values x(static_cast<std::size_t>(n));
  for (float& v : x) v = normal(random);
  return x;
}

const ElementwiseKernels& reference() { return *elementwise_kernels(Isa::kScalar); }

/// Distance in representable numbers.
double ulps(float got, double wanted) {
  const float nearest = static_cast<float>(wanted);
  const float next = std::nextafter(std::abs(nearest), std::numeric_limits<float>::infinity());
  return std::abs(static_cast<double>(got) - wanted) /
         (static_cast<double>(next) - std::abs(static_cast<double>(nearest)));
}

/// Every instruction set of the machine gives the scalar kernel's bits, for counts that do and do not fill the lanes.
void expect_same_bits(const std::function<void(const ElementwiseKernels&, std::int64_t, Values&)>& compute) {
  for (Isa isa : supported_isas()) {
    const ElementwiseKernels* kernels = elementwise_kernels(isa);
    ASSERT_NE(kernels, nullptr);
    for (std::int64_t n : {1, 7, 8, 15, 16, 17, 40, 64, 127, 576, 1536}) {
      Values wanted(static_cast<std::size_t>(n) + 1, 7.0f), got = wanted;
      compute(reference(), n, wanted);
      compute(*kernels, n, got);
      ASSERT_EQ(std::memcmp(wanted.data(), got.data(), wanted.size() * 4), 0) << isa_name(isa) << " n=" << n;
      ASSERT_EQ(got.back(), 7.0f) << "wrote past the end";
    }
  }
}

TEST(ElementwiseKernels, NormsAreTheSameOnEveryInstructionSet) {
  const Values x = random_values(2000, 3, 1), w = random_values(2000, 1, 2), b = random_values(2000, 1, 3);
  expect_same_bits([&](auto& k, std::int64_t n, Values& out) { k.rms_norm(x.data(), w.data(), n, 1e-5f, out.data()); });
  expect_same_bits([&](auto& k, std::int64_t n, Values& out) { k.rms_norm(x.data(), nullptr, n, 1e-5f, out.data()); });
  expect_same_bits(
      [&](auto& k, std::int64_t n, Values& out) { k.layer_norm(x.data(), w.data(), b.data(), n, 1e-5f, out.data()); });
}

TEST(ElementwiseKernels, ArithmeticAndActivationsAreTheSameOnEveryInstructionSet) {
  const Values x = random_values(2000, 5, 4), y = random_values(2000, 5, 5);
  const float* a = x.data();
  const float* b = y.data();
  expect_same_bits([&](auto& k, std::int64_t n, Values& out) { k.add(a, b, n, out.data()); });
  expect_same_bits([&](auto& k, std::int64_t n, Values& out) { k.multiply_add(a, b, 1.3f, n, out.data()); });
  expect_same_bits([&](auto& k, std::int64_t n, Values& out) { k.multiply(a, b, n, out.data()); });
  expect_same_bits([&](auto& k, std::int64_t n, Values& out) { k.scale(a, 1.3f, n, out.data()); });
  expect_same_bits([&](auto& k, std::int64_t n, Values& out) { k.softcap(a, 4.0f, n, out.data()); });
  expect_same_bits([&](auto& k, std::int64_t n, Values& out) { k.silu(a, n, out.data()); });
  expect_same_bits([&](auto& k, std::int64_t n, Values& out) { k.gelu_tanh(a, n, out.data()); });
  expect_same_bits([&](auto& k, std::int64_t n, Values& out) { k.gelu(a, n, out.data()); });
  expect_same_bits([&](auto& k, std::int64_t n, Values& out) { k.silu_mul(a, b, n, out.data()); });
  expect_same_bits([&](auto& k, std::int64_t n, Values& out) { k.gelu_tanh_mul(a, b, n, out.data()); });
  expect_same_bits([&](auto& k, std::int64_t n, Values& out) { k.gelu_mul(a, b, n, out.data()); });
  expect_same_bits([&](auto& k, std::int64_t n, Values& out) { k.exp(a, n, out.data()); });
  expect_same_bits([&](auto& k, std::int64_t n, Values& out) { k.tanh(a, n, out.data()); });
  expect_same_bits([&](auto& k, std::int64_t n, Values& out) { k.erf(a, n, out.data()); });
}

TEST(ElementwiseKernels, ReductionsAreTheSameOnEveryInstructionSet) {
  const Values x = random_values(2000, 5, 6);
  expect_same_bits([&](auto& k, std::int64_t n, Values& out) { out[0] = k.sum(x.data(), n); });
  expect_same_bits([&](auto& k, std::int64_t n, Values& out) { out[0] = k.maximum(x.data(), n); });
  expect_same_bits([&](auto& k, std::int64_t n, Values& out) { out[0] = k.exp_sum(x.data(), 3.0f, n); });
  expect_same_bits([&](auto& k, std::int64_t n, Values& out) { out[0] = static_cast<float>(k.arg_max(x.data(), n)); });
}

TEST(ElementwiseKernels, RotaryEmbeddingIsTheSameOnEveryInstructionSet) {
  const Values x = random_values(4000, 1, 7), c = random_values(2000, 1, 8), s = random_values(2000, 1, 9);
  for (bool halves : {false, true})
    expect_same_bits([&](const ElementwiseKernels& k, std::int64_t n, Values& out) {
      const std::int64_t half = n / 2;
      std::memcpy(out.data(), x.data(), static_cast<std::size_t>(n) * 4);
      (halves ? k.rope_halves : k.rope_pairs)(out.data(), c.data(), s.data(), half);
    });
}

TEST(ElementwiseKernels, SpecialValuesAreTheSameOnEveryInstructionSet) {
  const float inf = std::numeric_limits<float>::infinity();
  const Values x = {0.0f,   -0.0f,      inf,     -inf,    1e-40f, -1e-40f, 3e38f,   -3e38f, 88.72283f,
                    88.73f, -87.33654f, -87.34f, -104.0f, 1e-8f,  0.625f,  -0.625f, 20.0f,  -20.0f};
  const std::int64_t n = static_cast<std::int64_t>(x.size());
  for (auto function : {&ElementwiseKernels::exp, &ElementwiseKernels::tanh, &ElementwiseKernels::erf,
                        &ElementwiseKernels::gelu_tanh, &ElementwiseKernels::gelu}) {
    Values wanted(x.size());
    (reference().*function)(x.data(), n, wanted.data());
    for (Isa isa : supported_isas()) {
      Values got(x.size());
      (elementwise_kernels(isa)->*function)(x.data(), n, got.data());
      for (std::size_t i = 0; i < x.size(); ++i)
        EXPECT_TRUE(std::memcmp(&wanted[i], &got[i], 4) == 0 || (std::isnan(wanted[i]) && std::isnan(got[i])))
            << isa_name(isa) << " at " << x[i] << ": " << got[i] << ", scalar " << wanted[i];
    }
  }
}

TEST(ElementwiseKernels, ExponentialIsWithinTwoUlp) {
  double worst = 0;
  Values x, y;
  for (float v = -87.3f; v < 88.7f; v += 0.0007f) x.push_back(v);
  y.resize(x.size());
  elementwise().exp(x.data(), static_cast<std::int64_t>(x.size()), y.data());
  for (std::size_t i = 0; i < x.size(); ++i) worst = std::max(worst, ulps(y[i], std::exp(static_cast<double>(x[i]))));
  EXPECT_LE(worst, 2.0);
}

TEST(ElementwiseKernels, ExponentialOfInfinitiesAndNan) {
  const float inf = std::numeric_limits<float>::infinity();
  const Values x = {-inf, inf, std::numeric_limits<float>::quiet_NaN(), 0.0f, -200.0f, 89.0f};
  for (Isa isa : supported_isas()) {
    Values y(x.size());
    elementwise_kernels(isa)->exp(x.data(), static_cast<std::int64_t>(x.size()), y.data());
    EXPECT_EQ(y[0], 0.0f);
    EXPECT_EQ(y[1], inf);
    EXPECT_TRUE(std::isnan(y[2]));
    EXPECT_EQ(y[3], 1.0f);
    EXPECT_EQ(y[4], 0.0f);
    EXPECT_EQ(y[5], inf);
  }
}

TEST(ElementwiseKernels, TanhErfAndActivationsAreAccurate) {
  Values x, t, e, g, gt, s;
  for (float v = -12.0f; v < 12.0f; v += 0.00037f) x.push_back(v);
  const auto n = static_cast<std::int64_t>(x.size());
  for (Values* v : {&t, &e, &g, &gt, &s}) v->resize(x.size());
  elementwise().tanh(x.data(), n, t.data());
  elementwise().erf(x.data(), n, e.data());
  elementwise().gelu(x.data(), n, g.data());
  elementwise().gelu_tanh(x.data(), n, gt.data());
  elementwise().silu(x.data(), n, s.data());
  double worst_tanh = 0, worst_erf = 0, worst_gelu = 0, worst_gelu_tanh = 0, worst_silu = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double v = x[i];
    worst_tanh = std::max(worst_tanh, ulps(t[i], std::tanh(v)));
    worst_erf = std::max(worst_erf, std::abs(e[i] - std::erf(v)));
    const double u = std::sqrt(2 / M_PI) * (v + 0.044715 * v * v * v);
    const auto relative = [](double got, double wanted) { return std::abs(got - wanted) / (std::abs(wanted) + 1e-30); };
    worst_gelu = std::max(worst_gelu, relative(g[i], 0.5 * v * std::erfc(-v / std::sqrt(2.0))));
    worst_gelu_tanh = std::max(worst_gelu_tanh, relative(gt[i], v / (1 + std::exp(-2 * u))));
    worst_silu = std::max(worst_silu, relative(s[i], v / (1 + std::exp(-v))));
  }
  EXPECT_LE(worst_tanh, 4.0);
  EXPECT_LE(worst_erf, 4e-7);
  EXPECT_LE(worst_gelu, 2e-5) << "in the far tail the square of the argument is rounded";
  EXPECT_LE(worst_gelu_tanh, 2e-5);
  EXPECT_LE(worst_silu, 1e-6);
}

TEST(ElementwiseKernels, RmsNormAndLayerNormMatchDouble) {
  const std::int64_t n = 577;
  const Values x = random_values(n, 2, 10), w = random_values(n, 1, 11), b = random_values(n, 1, 12);
  double squares = 0, mean = 0, variance = 0;
  for (float v : x) squares += static_cast<double>(v) * v, mean += v;
  mean /= n;
  for (float v : x) variance += (v - mean) * (v - mean);
  Values rms(x.size()), layer(x.size());
  elementwise().rms_norm(x.data(), w.data(), n, 1e-6f, rms.data());
  elementwise().layer_norm(x.data(), w.data(), b.data(), n, 1e-12f, layer.data());
  for (std::size_t i = 0; i < x.size(); ++i) {
    EXPECT_NEAR(rms[i], x[i] / std::sqrt(squares / n + 1e-6) * w[i], 2e-6);
    EXPECT_NEAR(layer[i], (x[i] - mean) / std::sqrt(variance / n) * w[i] + b[i], 4e-6);
  }
}

TEST(ElementwiseKernels, RotaryEmbeddingRotatesPairsAndLeavesTheRest) {
  Values pairs = {1, 2, 3, 4, 5}, halves = pairs;
  const Values c = {0.0f, 0.5f}, s = {1.0f, 0.25f};
  elementwise().rope_pairs(pairs.data(), c.data(), s.data(), 2);
  elementwise().rope_halves(halves.data(), c.data(), s.data(), 2);
  EXPECT_EQ(pairs, (Values{-2, 1, 0.5f, 2.75f, 5}));
  EXPECT_EQ(halves, (Values{-3, 0, 1, 2.5f, 5}));
}

TEST(ElementwiseKernels, ArgMaxTakesTheLowestIndexAndPassesOverNan) {
  const float nan = std::numeric_limits<float>::quiet_NaN(), inf = std::numeric_limits<float>::infinity();
  Values x(40, 1.0f);
  x[5] = x[21] = x[39] = 2.0f;
  x[0] = x[30] = nan;
  const Values lowest(20, -inf), none(20, nan);
  for (Isa isa : supported_isas()) {
    const ElementwiseKernels& k = *elementwise_kernels(isa);
    EXPECT_EQ(k.arg_max(x.data(), 40), 5);
    EXPECT_EQ(k.arg_max(lowest.data(), 20), 0);
    EXPECT_EQ(k.arg_max(none.data(), 20), 0);
    EXPECT_EQ(k.maximum(none.data(), 20), -inf);
  }
}

TEST(LogSumExp, MatchesDoubleOverPieces) {
  const Values x = random_values(100'000, 4, 13);
  LogSumExp got;
  got.add(x.data(), 10'001);
  got.add(x.data() + 10'001, 89'999);
  double sum = 0;
  for (float v : x) sum += std::exp(static_cast<double>(v));
  EXPECT_NEAR(got.value(), std::log(sum), 1e-6);
  EXPECT_EQ(LogSumExp().value(), -std::numeric_limits<double>::infinity());
}

}  // namespace
}  // namespace kinglet
