#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <limits>
#include <map>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "kinglet/block_type.h"
#include "tensor/half.h"

namespace kinglet {
namespace {

/// The same numbers with every standard library (std::normal_distribution differs between them).
class Random {
 public:
  explicit Random(std::uint32_t seed) : engine_(seed) {}
  std::uint32_t word() { return static_cast<std::uint32_t>(engine_()); }
  double uniform() { return (word() + 0.5) / 4294967296.0; }
  double normal() { return std::sqrt(-2 * std::log(uniform())) * std::cos(2 * 3.14159265358979323846 * uniform()); }

 private:
  std::mt19937 engine_;
};

std::vector<float> gaussian(std::size_t count, double deviation, std::uint32_t seed) {
  Random random(seed);
  std::vector<float> values(count);
  for (float& value : values) value = static_cast<float>(deviation * random.normal());
  return values;
}

std::vector<const BlockType*> quantized_types() {
  std::vector<const BlockType*> types;
  for (const BlockType* type : block_types())
    if (type->form.bits != 0) types.push_back(type);
  return types;
}

std::vector<float> decoded(const BlockType& type, const std::vector<std::byte>& data) {
  std::vector<float> values(data.size() / type.block_bytes * type.block_values);
  type.decode(data.data(), data.size() / type.block_bytes, values.data());
  return values;
}

std::vector<std::byte> encoded(const BlockType& type, const std::vector<float>& values, const float* importance) {
  std::vector<std::byte> data(values.size() / type.block_values * type.block_bytes);
  type.encode(values.data(), values.size() / type.block_values, importance, data.data());
  return data;
}

std::vector<float> round_trip(const BlockType& type, const std::vector<float>& values,
                              const float* importance = nullptr) {
  return decoded(type, encoded(type, values, importance));
}

/// sum(importance * error^2) / sum(importance * value^2)
double relative_error(const std::vector<float>& values, const std::vector<float>& others,
                      const std::vector<float>& importance) {
  double error = 0, total = 0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    const double weight = importance.empty() ? 1 : importance[i], off = double{values[i]} - others[i];
    error += weight * off * off;
    total += weight * values[i] * values[i];
  }
  return error / total;
}

/// Where the f16 scale and minimum of a block are (-1: it has none).
struct ScalePlaces {
  int scale, minimum;
};
const std::map<std::string_view, ScalePlaces> kPlaces = {{"Q4_0", {0, -1}},   {"Q4_1", {0, 2}},    {"Q5_0", {0, -1}},
                                                         {"Q5_1", {0, 2}},    {"Q8_0", {0, -1}},   {"Q2_K", {80, 82}},
                                                         {"Q3_K", {108, -1}}, {"Q4_K", {0, 2}},    {"Q5_K", {0, 2}},
                                                         {"Q6_K", {208, -1}}, {"IQ4_NL", {0, -1}}, {"IQ4_XS", {0, -1}}};

/// Random bits with scales of any sign within 2^-spread .. 2^spread of each other.
std::vector<std::byte> random_blocks(const BlockType& type, std::size_t blocks, int spread, std::uint32_t seed) {
  Random random(seed);
  const ScalePlaces places = kPlaces.at(type.name);
  std::vector<std::byte> data(blocks * type.block_bytes);
  for (std::byte& byte : data) byte = static_cast<std::byte>(random.word() >> 24);
  for (std::size_t block = 0; block < blocks; ++block) {
    std::byte* at = data.data() + block * type.block_bytes;
    const double size = std::ldexp(1 + random.uniform(), static_cast<int>(random.word() % 12) - 9);
    auto put = [&](int place, double value) {
      const std::uint16_t half = f32_to_f16(static_cast<float>(random.word() % 2 != 0 ? value : -value));
      std::memcpy(at + place, &half, sizeof half);
    };
    put(places.scale, size);
    if (places.minimum >= 0)
      put(places.minimum,
          std::ldexp(size * (0.5 + random.uniform()), static_cast<int>(random.word() % (2 * spread + 1)) - spread));
  }
  return data;
}

TEST(Encode, KeepsWhatWasDecoded) {
  for (const BlockType* type : quantized_types()) {
    SCOPED_TRACE(type->name);
    if (type->is_native) continue;  // trellis_test.cpp
    ASSERT_EQ(kPlaces.count(type->name), 1u);
    const std::vector<float> values = decoded(*type, random_blocks(*type, 600, 3, 5));
    const std::vector<float> again = round_trip(*type, values);
    for (std::size_t i = 0; i < values.size(); ++i) {
      ASSERT_EQ(values[i], again[i]) << "value " << i % type->block_values << " of block " << i / type->block_values;
      // A zero keeps its sign too, where the sign is the scale's.
      if (!type->form.has_minimum) ASSERT_EQ(std::signbit(values[i]), std::signbit(again[i])) << i;
    }
  }
}

TEST(Encode, KeepsWhatItEncodedItself) {
  for (const BlockType* type : quantized_types()) {
    SCOPED_TRACE(type->name);
    const std::vector<float> once = round_trip(*type, gaussian(1 << 16, 0.03, 3));
    EXPECT_EQ(once, round_trip(*type, once));
  }
}

// With scales of any size some values are infinite, and a minimum may drown the codes: then there is nothing to keep,
// but everything stays finite.
TEST(Encode, GivesFiniteValuesForAnyDecodedBits) {
  for (const BlockType* type : quantized_types()) {
    SCOPED_TRACE(type->name);
    Random random(17);
    std::vector<std::byte> data(400 * static_cast<std::size_t>(type->block_bytes));
    for (std::byte& byte : data) byte = static_cast<std::byte>(random.word() >> 24);
    const std::vector<float> values = decoded(*type, data), again = round_trip(*type, values);
    for (std::size_t block = 0; block < 400; ++block) {
      bool finite = true, equal = true;
      for (int i = 0; i < type->block_values; ++i) {
        const std::size_t at = block * type->block_values + i;
        finite &= std::isfinite(values[at]);
        equal &= values[at] == again[at];
        ASSERT_TRUE(std::isfinite(again[at]));
      }
      if (finite && !type->form.has_minimum) ASSERT_TRUE(equal) << block;
    }
  }
}

TEST(Encode, SurvivesHostileValuesAndWeights) {
  const float infinity = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> odd = {0.0f,   -0.0f, nan,  -nan,  infinity, -infinity, 1e-45f, -1e-40f, 1e-30f, 1e-8f,
                                  -6e-8f, 3e-7f, 1.0f, -1.0f, 65504.0f, 7e4f,      1e9f,   -1e20f,  3e38f,  -3.4e38f};
  Random random(23);
  for (const BlockType* type : quantized_types()) {
    SCOPED_TRACE(type->name);
    for (int round = 0; round < 400; ++round) {
      std::vector<float> values(type->block_values), weights(type->block_values);
      const std::size_t kinds = 1 + random.word() % odd.size(), first = random.word() % odd.size();
      for (float& value : values) value = odd[(first + random.word() % kinds) % odd.size()];
      for (float& weight : weights) weight = odd[random.word() % odd.size()];
      for (const float* importance : {static_cast<const float*>(nullptr), static_cast<const float*>(weights.data())}) {
        const std::vector<float> out = round_trip(*type, values, importance);
        for (float value : out) ASSERT_TRUE(std::isfinite(value));
      }
    }
  }
}

TEST(Encode, KeepsZerosAndSmallIntegers) {
  for (const BlockType* type : quantized_types()) {
    SCOPED_TRACE(type->name);
    std::vector<float> zeros(type->block_values, 0.0f);
    EXPECT_EQ(round_trip(*type, zeros), zeros);
    if (type->form.codebook != nullptr || type->form.trellis != nullptr)
      continue;  // whose levels are not evenly spaced
    std::vector<float> integers(type->block_values);
    for (int i = 0; i < type->block_values; ++i) integers[i] = static_cast<float>(i * 7 % 3);
    EXPECT_EQ(round_trip(*type, integers), integers);
  }
}

TEST(Encode, OfSeveralBlocksIsThatOfEach) {
  for (const BlockType* type : quantized_types()) {
    SCOPED_TRACE(type->name);
    const std::vector<float> values = gaussian(5 * type->block_values, 1, 29);
    const std::vector<std::byte> together = encoded(*type, values, nullptr);
    std::vector<std::byte> single(type->block_bytes);
    for (int block = 0; block < 5; ++block) {
      type->encode(values.data() + block * type->block_values, 1, nullptr, single.data());
      EXPECT_EQ(std::memcmp(single.data(), together.data() + block * type->block_bytes, single.size()), 0);
    }
  }
}

TEST(Encode, SpendsItsBitsWhereTheWeightIs) {
  Random random(31);
  const std::vector<float> values = gaussian(1 << 15, 0.05, 37);
  std::vector<float> importance(values.size());
  for (float& weight : importance) weight = static_cast<float>(std::exp(2 * random.normal()));
  for (const BlockType* type : quantized_types()) {
    SCOPED_TRACE(type->name);
    const double blind = relative_error(values, round_trip(*type, values), importance);
    const double aware = relative_error(values, round_trip(*type, values, importance.data()), importance);
    EXPECT_LT(aware, 0.9 * blind);
    std::vector<float> scaled = importance;
    for (float& weight : scaled) weight *= 1024;  // only ratios count
    EXPECT_EQ(encoded(*type, values, scaled.data()), encoded(*type, values, importance.data()));
  }
}

// The best of many scales, each with the nearest codes, for a type that has one scale a block.
double best_by_brute_force(const BlockType& type, const float* values) {
  float peak = 0;
  for (int i = 0; i < 32; ++i) peak = std::max(peak, std::fabs(values[i]));
  const int low = type.form.codebook != nullptr ? -127 : -(1 << (type.form.bits - 1));
  double best = INFINITY;
  for (int k = -4000; k <= 4000; ++k) {
    const float scale = f16_to_f32(f32_to_f16(peak * k / 4000 * -2 / low));
    if (scale == 0) continue;
    double error = 0;
    for (int i = 0; i < 32; ++i) {
      double least = INFINITY;
      for (int code = 0; code < 1 << type.form.bits; ++code) {
        const int level = type.form.codebook != nullptr ? type.form.codebook[code] : code + low;
        least = std::min(least, std::fabs(double{values[i]} - double{scale} * level));
      }
      error += least * least;
    }
    best = std::min(best, error);
  }
  return best;
}

TEST(Encode, IsCloseToTheBestOfAllScales) {
  const std::vector<float> values = gaussian(32 * 16, 0.02, 41);
  for (std::string_view name : {"Q4_0", "Q5_0", "IQ4_NL"}) {
    SCOPED_TRACE(name);
    const BlockType& type = *find_block_type(name);
    const std::vector<float> out = round_trip(type, values);
    double best = 0, error = 0;
    for (std::size_t block = 0; block < 16; ++block) best += best_by_brute_force(type, &values[block * 32]);
    for (std::size_t i = 0; i < values.size(); ++i)
      error += (double{values[i]} - out[i]) * (double{values[i]} - out[i]);
    EXPECT_LE(error, 1.02 * best);
    EXPECT_GE(error, 0.999 * best);
  }
}

// Bounds are 1 % above what was measured. ggml's figures: ggml_quantize_chunk of llama.cpp (llama-cpp-python 0.3.36)
// on the same values, without importance.
struct Expected {
  std::string_view name;
  double bound, ggml;
};
constexpr Expected kExpected[] = {
    {"Q2_K", 6.761e-02, 8.873e-02}, {"Q3_K", 2.085e-02, 2.285e-02},   {"Q4_0", 6.627e-03, 7.407e-03},
    {"Q4_1", 4.790e-03, 6.159e-03}, {"Q4_K", 4.856e-03, 5.110e-03},   {"Q5_0", 1.621e-03, 1.831e-03},
    {"Q5_1", 1.105e-03, 1.438e-03}, {"Q5_K", 1.169e-03, 1.308e-03},   {"Q6_K", 2.720e-04, 3.163e-04},
    {"Q8_0", 2.178e-05, 2.885e-05}, {"IQ4_NL", 5.441e-03, 5.816e-03}, {"IQ4_XS", 5.503e-03, 5.904e-03}};

TEST(Encode, ErrorOnAGaussianTensor) {
  const std::vector<float> values = gaussian(1 << 18, 0.02, 43);
  std::printf("| type | bits a weight | error / ggml's error | relative squared error |\n");
  std::size_t standard = 0;
  for (const BlockType* type : quantized_types()) standard += type->is_native ? 0 : 1;
  ASSERT_EQ(std::size(kExpected), standard);
  for (const Expected& expected : kExpected) {
    const BlockType* type = find_block_type(expected.name);
    ASSERT_NE(type, nullptr);
    const double error = relative_error(values, round_trip(*type, values), {});
    std::printf("| %s | %.4g | %.3f | %.3e |\n", std::string(type->name).c_str(), type->bits_per_weight(),
                error / expected.ggml, error);
    EXPECT_LT(error, expected.bound) << type->name;
  }
}

// One group of large values must neither clip nor drown the others: in 6 bits no value is further from its own than its
// group's step, which the group's largest value bounds.
TEST(Encode, GroupsOfDifferentSizeKeepTheirOwnPrecision) {
  for (std::string_view name : {"Q4_K", "Q5_K", "Q6_K"}) {
    SCOPED_TRACE(name);
    const BlockType& type = *find_block_type(name);
    std::vector<float> values = gaussian(256 * 64, 0.01, 47);
    Random random(53);
    for (std::size_t block = 0; block < 64; ++block) {
      const std::size_t first = block * 256 + random.word() % 8 * 32;
      for (std::size_t i = first; i < first + 32; ++i) values[i] *= 6;
    }
    const std::vector<float> out = round_trip(type, values);
    for (std::size_t group = 0; group < values.size() / 32; ++group) {
      float peak = 0, off = 0;
      for (std::size_t i = group * 32; i < group * 32 + 32; ++i) {
        peak = std::max(peak, std::fabs(values[i]));
        off = std::max(off, std::fabs(values[i] - out[i]));
      }
      EXPECT_LT(off, peak * (name == "Q4_K" ? 0.20f : name == "Q5_K" ? 0.11f : 0.05f)) << group;
    }
  }
}

TEST(Encode, PlainTypesRoundToNearest) {
  const std::vector<float> values = {0.0f, 1.5f, 2.5f, -2.5f, 127.4f, 128.0f, -129.0f, 1e30f, -1e30f, NAN};
  const std::map<std::string_view, std::vector<float>> expected = {
      {"I8", {0, 2, 2, -2, 127, 127, -128, 127, -128, 0}},
      {"I16", {0, 2, 2, -2, 127, 128, -129, 32767, -32768, 0}},
      {"I32", {0, 2, 2, -2, 127, 128, -129, 2147483648.0f, -2147483648.0f, 0}},
      {"I64", {0, 2, 2, -2, 127, 128, -129, 9223372036854775808.0f, -9223372036854775808.0f, 0}}};
  for (const auto& [name, numbers] : expected) EXPECT_EQ(round_trip(*find_block_type(name), values), numbers) << name;
  for (std::string_view name : {"F32", "F64"}) {
    const std::vector<float> out = round_trip(*find_block_type(name), values);
    EXPECT_EQ(std::vector<float>(out.begin(), out.end() - 1), std::vector<float>(values.begin(), values.end() - 1));
    EXPECT_TRUE(std::isnan(out.back()));
  }
}

}  // namespace
}  // namespace kinglet
