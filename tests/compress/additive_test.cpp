// Additive codebooks: the fit never gets worse, what is stored is what is multiplied, and damaged factors are errors.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "base/thread_pool.h"
#include "compress/calibration/moments.h"
#include "compress/memory_checkpoint.h"
#include "compress/quantize/additive.h"
#include "compress/workbench.h"
#include "kinglet/factors.h"
#include "model/additive_format.h"
#include "tensor/kernels/matmul.h"

namespace kinglet {
namespace {

std::vector<float> random_values(std::size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (float& value : values) value = normal(random);
  return values;
}

/// Moments of correlated inputs.
std::vector<float> moment_of(std::int64_t inputs, ThreadPool& pool) {
  constexpr std::int64_t kTokens = 256;
  std::vector<float> x = random_values(static_cast<std::size_t>(kTokens * inputs), 3);
  for (std::size_t i = 1; i < x.size(); ++i) x[i] += 0.7f * x[i - 1];
  MomentSum sum(inputs);
  sum.add(x, x, pool);
  std::vector<float> moment = sum.sum();
  for (std::int64_t i = 0; i < inputs; ++i) moment[static_cast<std::size_t>(i * inputs + i)] += 2;
  return moment;
}

double loss(std::span<const float> targets, std::span<const float> values, std::span<const float> moment,
            std::size_t inputs) {
  double total = 0;
  std::vector<double> error(inputs);
  for (std::size_t row = 0; row < targets.size() / inputs; ++row) {
    for (std::size_t k = 0; k < inputs; ++k) error[k] = double(targets[row * inputs + k]) - values[row * inputs + k];
    for (std::size_t i = 0; i < inputs; ++i)
      for (std::size_t k = 0; k < inputs; ++k) total += error[i] * moment[i * inputs + k] * error[k];
  }
  return total;
}

constexpr std::int64_t kRows = 90, kInputs = 96;

struct Fitted {
  std::vector<float> targets = random_values(kRows * kInputs, 1), moment;
  AdditiveReport report;
  AdditiveMatrix matrix;
  explicit Fitted(int books, int threads = 2) {
    ThreadPool pool(threads);
    moment = moment_of(kInputs, pool);
    matrix = fit_additive(targets, kRows, kInputs, moment, {.books = books}, pool, &report);
  }
  std::vector<float> values() const {
    std::vector<float> out(targets.size());
    decode_additive(matrix, out.data());
    return out;
  }
};

TEST(Additive, NoStepRaisesTheLoss) {
  constexpr double kRoundingErrors = 1 + 1e-4;  // of sums in f32
  const Fitted fitted(2);
  double before = fitted.report.first;
  ASSERT_FALSE(fitted.report.after_scales.empty());
  for (std::size_t i = 0; i < fitted.report.after_scales.size(); ++i) {
    EXPECT_LE(fitted.report.after_codes[i], before * kRoundingErrors);
    EXPECT_LE(fitted.report.after_entries[i], fitted.report.after_codes[i] * kRoundingErrors);
    EXPECT_LE(fitted.report.after_scales[i], fitted.report.after_entries[i] * kRoundingErrors);
    before = fitted.report.after_scales[i];
  }
  EXPECT_LT(before, 0.8 * fitted.report.first);
  EXPECT_LT(fitted.report.stored, 1.1 * before);  // int8 entries cost little
}

TEST(Additive, TheLossReportedIsThatOfTheStoredValues) {
  for (int books : {1, 3}) {
    const Fitted fitted(books);
    const double stored = loss(fitted.targets, fitted.values(), fitted.moment, kInputs);
    EXPECT_NEAR(fitted.report.stored, stored, 1e-3 * stored) << books;
  }
}

TEST(Additive, BetterThanRoundingToTwoBits) {
  const Fitted fitted(2);
  const BlockType& type = *find_block_type("U2");
  std::vector<std::byte> data(kRows * type.row_bytes(kInputs));
  type.encode(fitted.targets.data(), kRows * kInputs / 32, nullptr, data.data());
  std::vector<float> rounded(fitted.targets.size());
  type.decode(data.data(), kRows * kInputs / 32, rounded.data());
  EXPECT_LT(fitted.report.stored, 0.7 * loss(fitted.targets, rounded, fitted.moment, kInputs));
}

TEST(Additive, ThreadsChangeNothing) {
  const Fitted one(2, 1), three(2, 3);
  EXPECT_EQ(one.matrix.codes, three.matrix.codes);
  EXPECT_EQ(one.matrix.entries, three.matrix.entries);
  EXPECT_EQ(one.matrix.scales, three.matrix.scales);
}

TEST(Additive, ZerosStayZeros) {
  ThreadPool pool(1);
  const std::vector<float> moment = moment_of(kInputs, pool), targets(kRows * kInputs);
  std::vector<float> values(targets.size(), 1);
  decode_additive(fit_additive(targets, kRows, kInputs, moment, {}, pool), values.data());
  EXPECT_EQ(values, targets);
}

// The factors of a matrix, to be spoilt.
struct Stored {
  FactoredMatrix matrix{std::string(kAdditiveCodec), "blk.0.ffn_up.weight", kRows, kInputs};
  struct Part {
    const char* type;
    std::vector<std::int64_t> shape;
    std::vector<std::byte> bytes;
  };
  std::vector<Part> parts;

  explicit Stored(const AdditiveMatrix& from) {
    parts = {{"I8", {kRows, from.books * kInputs / 8}, copy(from.codes)},
             {"I8", {from.books * 256, 8}, copy(from.entries)},
             {"F32", {kRows}, copy(from.scales)}};
  }
  Result<std::unique_ptr<PackedMatrix>> pack() const {
    Metadata metadata;
    set_factored_matrices(metadata, std::span(&matrix, 1));
    MemoryCheckpoint checkpoint(std::move(metadata));
    for (std::size_t i = 0; i < parts.size(); ++i)
      checkpoint.add(matrix.factor(static_cast<int>(i)), *find_block_type(parts[i].type), parts[i].shape,
                     own_bytes(parts[i].bytes));
    return pack_matrix(checkpoint, matrix.name);
  }
  static std::vector<std::byte> copy(const auto& values) {
    std::vector<std::byte> bytes(values.size() * sizeof(values[0]));
    std::memcpy(bytes.data(), values.data(), bytes.size());
    return bytes;
  }
};

TEST(AdditiveLinear, MultipliesAndReadsWhatWasStored) {
  for (int books : {1, 2, 4}) {
    const Fitted fitted(books);
    const std::vector<float> values = fitted.values();
    const auto packed = Stored(fitted.matrix).pack();
    ASSERT_TRUE(packed);
    const Linear& linear = *(*packed)->linear;
    std::vector<float> row(kInputs);
    for (std::int32_t id : {0, 17, 89}) {
      linear.gather({&id, 1}, row.data());
      EXPECT_EQ(std::memcmp(row.data(), values.data() + id * kInputs, row.size() * sizeof(float)), 0) << id;
    }
    constexpr int kTokens = 3;
    const std::vector<float> x = random_values(kTokens * kInputs, 5);
    LinearInput input;
    input.quantized_stride = quantized_row_bytes(kInputs);
    std::vector<std::byte> quantized(kTokens * input.quantized_stride);
    for (int t = 0; t < kTokens; ++t)
      quantize_row(x.data() + t * kInputs, kInputs, quantized.data() + t * input.quantized_stride);
    input.quantized = quantized.data();
    input.rows = kTokens;
    std::vector<float> y(kTokens * kRows, -1), parts(kTokens * kRows, -1), heard(kInputs);
    linear.multiply(0, input, {0, linear.tiles()}, y.data(), kRows);
    for (std::int64_t tile = 0; tile < linear.tiles(); ++tile)
      linear.multiply(0, input, {tile, tile + 1}, parts.data(), kRows);
    EXPECT_EQ(y, parts);
    for (int t = 0; t < kTokens; ++t) {
      dequantize_row(quantized.data() + t * input.quantized_stride, kInputs, heard.data());
      for (std::int64_t o = 0; o < kRows; ++o) {
        double sum = 0, size = 0;
        for (std::int64_t k = 0; k < kInputs; ++k) {
          sum += double(values[o * kInputs + k]) * heard[k];
          size += std::fabs(double(values[o * kInputs + k]) * heard[k]);
        }
        EXPECT_NEAR(y[t * kRows + o], sum, 1e-5 * size);
      }
    }
  }
}

TEST(AdditiveLinear, DamagedFactorsAreErrors) {
  const Fitted fitted(2);
  const Stored good(fitted.matrix);
  ASSERT_TRUE(good.pack());
  const auto corrupt = [&](const char* what, const auto& spoil) {
    Stored bad = good;
    spoil(bad);
    const auto packed = bad.pack();
    ASSERT_FALSE(packed) << what;
    EXPECT_EQ(packed.error().code, ErrorCode::kCorrupt) << what;
  };
  corrupt("a factor is missing", [](Stored& s) { s.parts.pop_back(); });
  corrupt("a factor too many", [](Stored& s) { s.parts.push_back(s.parts[2]); });
  corrupt("codes of fewer rows", [](Stored& s) {
    s.parts[0].shape[0] -= 1;
    s.parts[0].bytes.resize(s.parts[0].bytes.size() - 24);
  });
  corrupt("codes of more groups", [](Stored& s) {
    s.parts[0].shape[1] += 1;
    s.parts[0].bytes.resize(s.parts[0].bytes.size() + kRows);
  });
  corrupt("half a codebook", [](Stored& s) {
    s.parts[1].shape[0] = 384;
    s.parts[1].bytes.resize(384 * 8);
  });
  corrupt("five codebooks", [](Stored& s) {
    s.parts[1].shape[0] = 5 * 256;
    s.parts[1].bytes.resize(5 * 256 * 8);
  });
  corrupt("scales of another matrix", [](Stored& s) {
    s.parts[2].shape[0] = 16;
    s.parts[2].bytes.resize(64);
  });
  corrupt("scales of another type", [](Stored& s) {
    s.parts[2].type = "F16";
    s.parts[2].bytes.resize(kRows * 2);
  });
  corrupt("entries whose sum leaves int8", [](Stored& s) {
    s.parts[1].bytes[5] = std::byte{127};
    s.parts[1].bytes[2048 + 5] = std::byte{1};
  });
  corrupt("an entry of -128", [](Stored& s) { s.parts[1].bytes[5] = std::byte{0x80}; });
  corrupt("rows that are no multiple of 32", [](Stored& s) {
    s.matrix.inputs = 88;
    s.parts[0].shape[1] = 22;
    s.parts[0].bytes.resize(kRows * 22);
  });
}

}  // namespace
}  // namespace kinglet
