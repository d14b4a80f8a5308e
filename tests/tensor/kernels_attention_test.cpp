#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "tensor/kernels/attention.h"

namespace kinglet {
namespace {

using Values = std::vector<float>;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

Values random_values(std::size_t n, unsigned seed, float spread = 1) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, spread);
  Values x(n);
  for (float& v : x) v = normal(random);
  return x;
}

std::string name_of(KvStorage storage) {
  const char* names[] = {"f32", "f16", "bf16", "int8", "int4"};
  return names[static_cast<int>(storage)];
}

/// One chunk of random keys and values in groups.
struct Chunk {
  KvLayout layout;
  Values k, v;  // [256, length]
  std::vector<std::byte> key_memory, value_memory;
  std::vector<const std::byte*> keys, values;

  Chunk(KvLayout l, const AttentionKernels& kernels)
      : layout(l),
        k(random_values(static_cast<std::size_t>(kKvChunk * l.key_length), 1)),
        v(random_values(static_cast<std::size_t>(kKvChunk * l.value_length), 2)),
        key_memory(kKvGroups * l.key_group_bytes()),
        value_memory(kKvGroups * l.value_group_bytes()) {
    const auto storage = static_cast<std::size_t>(l.storage);
    for (int g = 0; g < kKvGroups; ++g) {
      keys.push_back(key_memory.data() + static_cast<std::size_t>(g) * l.key_group_bytes());
      values.push_back(value_memory.data() + static_cast<std::size_t>(g) * l.value_group_bytes());
    }
    for (int p = 0; p < kKvChunk; ++p) {
      kernels.store_key[storage](k.data() + p * l.key_length, l.key_length, const_cast<std::byte*>(keys[p / 16u]),
                                 p % 16);
      kernels.store_value[storage](v.data() + p * l.value_length, l.value_length,
                                   const_cast<std::byte*>(values[p / 16u]), p % 16);
    }
  }
};

/// Scores, softmax over [first, last], weighted values of all rows; everything that the kernels wrote.
Values run(const AttentionKernels& kernels, const Chunk& chunk, const Values& x, int rows, int first, int last,
           float cap) {
  const KvLayout& l = chunk.layout;
  const auto storage = static_cast<std::size_t>(l.storage);
  Values q(static_cast<std::size_t>(rows * l.key_length)), scores(static_cast<std::size_t>(rows * kKvChunk));
  Values out(static_cast<std::size_t>(rows * l.value_stride())),
      result(static_cast<std::size_t>(rows * l.value_length));
  for (int r = 0; r < rows; ++r)
    kernels.stage_query(x.data() + r * l.key_length, 0.125f, l.key_length, rows, r, q.data());
  const int begin = first / 16, end = last / 16 + 1;
  kernels.scores[storage](q.data(), rows, rows, l.key_length, chunk.keys.data() + begin, end - begin, nullptr,
                          scores.data() + 16 * begin);
  Values maxima(static_cast<std::size_t>(rows)), sums(static_cast<std::size_t>(rows));
  for (int r = 0; r < rows; ++r)
    kernels.softmax(scores.data() + r * kKvChunk, begin, end, first, last, cap, &maxima[static_cast<std::size_t>(r)],
                    &sums[static_cast<std::size_t>(r)]);
  kernels.values[storage](scores.data() + 16 * begin, rows, l.value_stride(), chunk.values.data() + begin, end - begin,
                          nullptr, out.data());
  for (int r = 0; r < rows; ++r)
    kernels.finish(out.data() + r * l.value_stride(), sums[static_cast<std::size_t>(r)], l.value_length,
                   result.data() + r * l.value_length);
  result.insert(result.end(), maxima.begin(), maxima.end());
  result.insert(result.end(), sums.begin(), sums.end());
  return result;
}

/// The same in double from the f32 keys and values.
Values reference(const Chunk& chunk, const Values& x, int rows, int first, int last, float cap) {
  const KvLayout& l = chunk.layout;
  Values result;
  for (int r = 0; r < rows; ++r) {
    std::vector<double> weights;
    double top = -std::numeric_limits<double>::infinity(), sum = 0;
    for (int p = first; p <= last; ++p) {
      double s = 0;
      for (int d = 0; d < l.key_length; ++d)
        s += 0.125 * static_cast<double>(x[static_cast<std::size_t>(r * l.key_length + d)]) *
             static_cast<double>(chunk.k[static_cast<std::size_t>(p * l.key_length + d)]);
      if (cap > 0) s = cap * std::tanh(s / static_cast<double>(cap));
      weights.push_back(s);
      top = std::max(top, s);
    }
    for (double& w : weights) sum += w = std::exp(w - top);
    for (int n = 0; n < l.value_length; ++n) {
      double total = 0;
      for (int p = first; p <= last; ++p)
        total += weights[static_cast<std::size_t>(p - first)] *
                 static_cast<double>(chunk.v[static_cast<std::size_t>(p * l.value_length + n)]);
      result.push_back(static_cast<float>(total / sum));
    }
  }
  return result;
}

constexpr KvStorage kStorages[] = {KvStorage::kF32, KvStorage::kF16, KvStorage::kBf16, KvStorage::kInt8,
                                   KvStorage::kInt4};

TEST(AttentionKernels, EveryInstructionSetGivesTheScalarBits) {
  const AttentionKernels& scalar = *attention_kernels(Isa::kScalar);
  for (KvStorage storage : kStorages)
    for (int length : {20, 32, 64, 80, 96, 128, 256}) {
      const KvLayout layout{.storage = storage, .key_length = length, .value_length = length};
      const Chunk wanted_chunk(layout, scalar);
      for (Isa isa : supported_isas()) {
        const AttentionKernels& kernels = *attention_kernels(isa);
        const Chunk chunk(layout, kernels);
        ASSERT_EQ(chunk.key_memory, wanted_chunk.key_memory) << isa_name(isa) << ' ' << name_of(storage);
        ASSERT_EQ(chunk.value_memory, wanted_chunk.value_memory) << isa_name(isa) << ' ' << name_of(storage);
        for (int rows : {1, 2, 3, 5, 7, 8}) {
          const Values x = random_values(static_cast<std::size_t>(rows * length), 3);
          const Values wanted = run(scalar, wanted_chunk, x, rows, 5, 203, rows == 3 ? 4.0f : 0.0f);
          const Values got = run(kernels, chunk, x, rows, 5, 203, rows == 3 ? 4.0f : 0.0f);
          ASSERT_EQ(std::memcmp(wanted.data(), got.data(), wanted.size() * 4), 0)
              << isa_name(isa) << ' ' << name_of(storage) << " head " << length << " rows " << rows;
        }
      }
    }
}

TEST(AttentionKernels, RotatedKeysAreThoseOfTheirSlots) {
  for (KvStorage storage : kStorages)
    for (int length : {20, 64, 96}) {
      const KvLayout layout{.storage = storage, .key_length = length, .value_length = length};
      Chunk chunk(layout, *attention_kernels(Isa::kScalar));
      const int half = length / 4;  // the other half of the dimensions does not turn
      Values cosines, sines;
      for (int i = 0; i < half * 16; ++i)
        cosines.push_back(std::cos(0.1f * float(i))), sines.push_back(std::sin(0.1f * float(i)));
      for (bool pairs : {false, true}) {
        std::vector<Values> all;
        for (Isa isa : supported_isas()) {
          Values out(static_cast<std::size_t>(length * 16));
          attention_kernels(isa)->rotate_keys[static_cast<std::size_t>(storage)](
              chunk.keys[3], length, half, pairs, cosines.data(), sines.data(), out.data());
          all.push_back(std::move(out));
          ASSERT_EQ(std::memcmp(all[0].data(), all.back().data(), all[0].size() * 4), 0) << isa_name(isa);
        }
        const double bound = storage == KvStorage::kInt4 ? 1.0 : storage == KvStorage::kF32 ? 1e-6 : 0.03;
        for (int lane = 0; lane < 16; ++lane) {
          Values key(chunk.k.begin() + (48 + lane) * length, chunk.k.begin() + (49 + lane) * length);
          if (storage == KvStorage::kInt4) mix(key.data(), length);  // what was stored was taken for mixed
          for (int i = 0; i < half; ++i) {
            const std::size_t a = static_cast<std::size_t>(pairs ? 2 * i : i),
                              b = static_cast<std::size_t>(pairs ? 2 * i + 1 : half + i);
            const auto at = static_cast<std::size_t>(16 * i + lane);
            const double x = double(key[a]) * double(cosines[at]) - double(key[b]) * double(sines[at]);
            EXPECT_NEAR(all[0][16 * a + static_cast<std::size_t>(lane)], x, bound) << name_of(storage);
          }
          EXPECT_NEAR(all[0][static_cast<std::size_t>(16 * (length - 1) + lane)], key.back(), bound)
              << name_of(storage);
        }
      }
    }
}

TEST(AttentionKernels, MixingIsItsOwnInverseAndSpreadsOutliers) {
  for (int n : {16, 20, 64, 80, 256}) {
    const Values x = random_values(static_cast<std::size_t>(n), 11), y = random_values(static_cast<std::size_t>(n), 12);
    Values a = x, b = y;
    mix(a.data(), n), mix(b.data(), n);
    double plain = 0, mixed = 0;
    for (std::size_t i = 0; i < x.size(); ++i)
      plain += double(x[i]) * double(y[i]), mixed += double(a[i]) * double(b[i]);
    EXPECT_NEAR(plain, mixed, 1e-4);
    mix(a.data(), n);
    for (std::size_t i = 0; i < x.size(); ++i) EXPECT_NEAR(a[i], x[i], 2e-6);
  }
  Values one(64, 0.0f);
  one[5] = 8;
  mix(one.data(), 64);
  for (float v : one) EXPECT_EQ(std::abs(v), 1.0f);
}

TEST(AttentionKernels, ARowDoesNotDependOnTheOthersOfItsTile) {
  const AttentionKernels& kernels = attention();
  for (KvStorage storage : kStorages) {
    const KvLayout layout{.storage = storage, .key_length = 64, .value_length = 80};
    const Chunk chunk(layout, kernels);
    const Values x = random_values(32 * 64, 4);
    for (int rows : {2, 6, 7, 13, 32}) {
      const Values together = run(kernels, chunk, x, rows, 0, 255, 0);
      for (int r = 0; r < rows; ++r) {
        const Values alone = run(kernels, chunk, Values(x.begin() + r * 64, x.begin() + (r + 1) * 64), 1, 0, 255, 0);
        ASSERT_EQ(std::memcmp(alone.data(), together.data() + r * 80, 80 * 4), 0)
            << name_of(storage) << " row " << r << " of " << rows;
      }
    }
  }
}

TEST(AttentionKernels, MatchesDouble) {
  for (Isa isa : supported_isas())
    for (KvStorage storage : kStorages) {
      const AttentionKernels& kernels = *attention_kernels(isa);
      const Chunk chunk({.storage = storage, .key_length = 64, .value_length = 64}, kernels);
      const Values x = random_values(3 * 64, 6);
      for (float cap : {0.0f, 2.0f}) {
        const Values got = run(kernels, chunk, x, 3, 30, 250, cap), wanted = reference(chunk, x, 3, 30, 250, cap);
        const double bound = storage == KvStorage::kF32    ? 2e-6
                             : storage == KvStorage::kF16  ? 6e-4
                             : storage == KvStorage::kBf16 ? 5e-3
                             : storage == KvStorage::kInt8 ? 1e-2
                                                           : 0.12;
        for (std::size_t i = 0; i < wanted.size(); ++i)
          ASSERT_NEAR(got[i], wanted[i], bound) << isa_name(isa) << ' ' << name_of(storage) << " cap " << cap;
      }
    }
}

TEST(AttentionKernels, PositionsOutsideTheRangeChangeNothing) {
  const AttentionKernels& kernels = attention();
  Chunk chunk({.storage = KvStorage::kF16, .key_length = 32, .value_length = 32}, kernels);
  const Values x = random_values(32, 7), before = run(kernels, chunk, x, 1, 20, 100, 0);
  const Values huge(32, 1e9f);
  for (int p : {16, 19, 101, 111}) {
    kernels.store_key[1](huge.data(), 32, const_cast<std::byte*>(chunk.keys[static_cast<std::size_t>(p / 16)]), p % 16);
    kernels.store_value[1](huge.data(), 32, const_cast<std::byte*>(chunk.values[static_cast<std::size_t>(p / 16)]),
                           p % 16);
  }
  EXPECT_EQ(run(kernels, chunk, x, 1, 20, 100, 0), before);
  // Wider groups around the range: their weights are 0.
  Values scores(kKvChunk, 5.0f);
  float maximum = 0, sum = 0;
  kernels.softmax(scores.data(), 0, 16, 20, 100, 0, &maximum, &sum);
  EXPECT_EQ(scores[19], 0.0f);
  EXPECT_EQ(scores[20], 1.0f);
  EXPECT_EQ(scores[101], 0.0f);
  EXPECT_EQ(scores[255], 0.0f);
  EXPECT_EQ(sum, 81.0f);
}

TEST(AttentionKernels, ARowThatSeesNothingAddsNothing) {
  for (Isa isa : supported_isas()) {
    const AttentionKernels& kernels = *attention_kernels(isa);
    Values scores(kKvChunk, 3.0f);
    float maximum = 1, sum = 1;
    kernels.softmax(scores.data(), 0, 16, 256, -1, 0, &maximum, &sum);
    EXPECT_EQ(scores, Values(kKvChunk, 0.0f));
    EXPECT_EQ(maximum, -kInfinity);
    EXPECT_EQ(sum, 0.0f);
    Values out(16, 2.0f), chunk_out(16, 0.0f), result(16);
    float top = 1.5f, total = 4.0f;
    kernels.merge(out.data(), &top, &total, chunk_out.data(), maximum, sum, 16);
    EXPECT_EQ(out, Values(16, 2.0f));
    EXPECT_EQ(total, 4.0f);
    kernels.finish(out.data(), total, 16, result.data());
    EXPECT_EQ(result, Values(16, 0.5f));
    kernels.finish(chunk_out.data(), 0.0f, 16, result.data());
    EXPECT_EQ(result, Values(16, 0.0f)) << "nothing visible is 0, not NaN";
  }
}

TEST(AttentionKernels, MergedChunksMatchOneSoftmaxInDouble) {
  const AttentionKernels& kernels = attention();
  Values out(16, 0.0f), result(16);
  float maximum = -kInfinity, sum = 0;
  const float tops[] = {1.0f, 40.0f, -30.0f, 40.5f};
  double wanted = 0, total = 0;
  for (int i = 0; i < 4; ++i) {
    const Values chunk(16, static_cast<float>(i + 1));
    kernels.merge(out.data(), &maximum, &sum, chunk.data(), tops[i], 2.0f, 16);
    wanted += (i + 1) * std::exp(static_cast<double>(tops[i]) - 40.5);
    total += 2.0 * std::exp(static_cast<double>(tops[i]) - 40.5);
  }
  kernels.finish(out.data(), sum, 16, result.data());
  for (float v : result) EXPECT_NEAR(v, wanted / total, 1e-6);
}

TEST(AttentionKernels, StoredValuesAreNeverInfinite) {
  for (Isa isa : supported_isas())
    for (KvStorage storage : kStorages) {
      const AttentionKernels& kernels = *attention_kernels(isa);
      const KvLayout layout{.storage = storage, .key_length = 16, .value_length = 16};
      std::vector<std::byte> group(layout.value_group_bytes());
      Values v(16, kInfinity), out(16, 0.0f), weights(kKvChunk, 0.0f);
      v[1] = -kInfinity, v[2] = 1e6f, v[3] = 3.4e38f;
      kernels.store_value[static_cast<std::size_t>(storage)](v.data(), 16, group.data(), 0);
      const std::byte* groups[] = {group.data()};
      kernels.values[static_cast<std::size_t>(storage)](weights.data(), 1, 16, groups, 1, nullptr, out.data());
      EXPECT_EQ(out, Values(16, 0.0f)) << isa_name(isa) << ' ' << name_of(storage) << ": 0 times it is 0";
    }
}

TEST(AttentionKernels, CopiedPositionsKeepTheirBytes) {
  for (KvStorage storage : kStorages) {
    const AttentionKernels& kernels = attention();
    const KvLayout layout{.storage = storage, .key_length = 20, .value_length = 24};
    const Values k = random_values(20, 8), v = random_values(24, 9);
    std::vector<std::byte> a(layout.key_group_bytes()), b(layout.key_group_bytes()), c(layout.value_group_bytes()),
        d(layout.value_group_bytes()), wanted_k(layout.key_group_bytes()), wanted_v(layout.value_group_bytes());
    const auto s = static_cast<std::size_t>(storage);
    kernels.store_key[s](k.data(), 20, a.data(), 3);
    kernels.store_value[s](v.data(), 24, c.data(), 3);
    kernels.store_key[s](k.data(), 20, wanted_k.data(), 14);
    kernels.store_value[s](v.data(), 24, wanted_v.data(), 14);
    copy_key(layout, a.data(), 3, b.data(), 14);
    copy_value(layout, c.data(), 3, d.data(), 14);
    EXPECT_EQ(b, wanted_k) << name_of(storage);
    EXPECT_EQ(d, wanted_v) << name_of(storage);
  }
}

}  // namespace
}  // namespace kinglet
