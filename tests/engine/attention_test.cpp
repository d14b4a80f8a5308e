#include "engine/attention.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <thread>

#include "engine/attention_helper.h"

namespace kinglet {
namespace {

using test::AttentionCase;
using test::AttentionRig;
using test::same_bits;

constexpr KvStorage kStorages[] = {KvStorage::kF32, KvStorage::kF16, KvStorage::kBf16, KvStorage::kInt8,
                                   KvStorage::kInt4};

std::vector<float> row_of(const std::vector<float>& all, std::size_t row, std::size_t width) {
  return {all.begin() + static_cast<std::ptrdiff_t>(row * width),
          all.begin() + static_cast<std::ptrdiff_t>((row + 1) * width)};
}

/// softmax(q k) v in double over the positions [max(0, p - window + 1), p].
std::vector<double> reference(const AttentionRig& rig, const AttentionCase& c, std::int64_t position,
                              std::int64_t last) {
  std::vector<double> result;
  const std::int64_t first = c.window > 0 ? std::max<std::int64_t>(position - c.window + 1, 0) : 0;
  const auto q = rig.values(0, 0, position);
  std::vector<std::vector<float>> keys, values;
  for (std::int64_t p = first; p <= last; ++p) {
    keys.push_back(rig.values(1, 0, p));
    values.push_back(rig.values(2, 0, p));
  }
  for (int h = 0; h < c.heads; ++h) {
    const int kv = h / (c.heads / c.kv_heads);
    std::vector<double> w;
    double sum = 0;
    for (const auto& k : keys) {
      double s = 0;
      for (int d = 0; d < c.key_length; ++d)
        s += static_cast<double>(q[static_cast<std::size_t>(h * c.key_length + d)]) *
             static_cast<double>(k[static_cast<std::size_t>(kv * c.key_length + d)]);
      s /= std::sqrt(static_cast<double>(c.key_length));
      if (c.cap > 0) s = c.cap * std::tanh(s / c.cap);
      w.push_back(std::exp(s));
      sum += w.back();
    }
    for (int n = 0; n < c.value_length; ++n) {
      double total = 0;
      for (std::size_t i = 0; i < w.size(); ++i)
        total += w[i] * static_cast<double>(values[i][static_cast<std::size_t>(kv * c.value_length + n)]);
      result.push_back(total / sum);
    }
  }
  return result;
}

TEST(Attention, MatchesDoubleForHeadsGroupsWindowsAndCaps) {
  const AttentionCase cases[] = {
      {.heads = 3, .kv_heads = 1, .storage = KvStorage::kF32},
      {.heads = 8, .kv_heads = 1, .key_length = 80, .value_length = 96, .storage = KvStorage::kF32},
      {.heads = 4, .kv_heads = 4, .key_length = 64, .value_length = 64, .storage = KvStorage::kF32, .cap = 3},
      {.heads = 4, .kv_heads = 2, .window = 70, .storage = KvStorage::kF32},
      {.heads = 40, .kv_heads = 1, .key_length = 16, .value_length = 20, .storage = KvStorage::kF32}};
  for (const AttentionCase& c : cases) {
    AttentionRig rig(c);
    auto sequence = rig.sequence();
    const auto all = rig.feed(*sequence, {300, 1, 20});
    const std::size_t width = static_cast<std::size_t>(c.heads * c.value_length);
    for (std::int64_t p : {0, 1, 15, 16, 17, 255, 256, 299, 300, 320}) {
      const auto wanted = reference(rig, c, p, p);
      const auto got = row_of(all, static_cast<std::size_t>(p), width);
      for (std::size_t i = 0; i < width; ++i) ASSERT_NEAR(got[i], wanted[i], 5e-6) << "position " << p;
    }
  }
}

TEST(Attention, WhatIsTakenFromAllKeysAlikeChangesOnlyTheRounding) {
  const AttentionCase c{.heads = 4, .kv_heads = 2, .storage = KvStorage::kInt4};
  AttentionRig plain(c), other(c);
  std::vector<float> taken(64);
  for (std::size_t i = 0; i < taken.size(); ++i) taken[i] = 0.5f * static_cast<float>(i % 7) - 1;
  other.plan().take_from_keys(0, taken);
  auto a = plain.sequence(), b = other.sequence();
  const auto wanted = plain.feed(*a, {300, 20}), got = other.feed(*b, {300, 20});
  EXPECT_FALSE(same_bits(wanted, got));
  double error = 0, size = 0;
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    error += std::pow(static_cast<double>(wanted[i]) - static_cast<double>(got[i]), 2);
    size += std::pow(static_cast<double>(wanted[i]), 2);
  }
  EXPECT_LT(error, 0.05 * size);
}

TEST(Attention, AnEncodersRowsSeeAllRows) {
  const AttentionCase c{.heads = 2, .kv_heads = 2, .storage = KvStorage::kF32, .causal = false};
  AttentionRig rig(c);
  auto sequence = rig.sequence();
  const auto all = rig.feed(*sequence, {37});
  for (std::int64_t p : {0, 20, 36}) {
    const auto wanted = reference(rig, c, p, 36);
    for (std::size_t i = 0; i < 64; ++i)
      ASSERT_NEAR(all[static_cast<std::size_t>(p) * 64 + i], wanted[i], 5e-6) << "position " << p;
  }
}

TEST(Attention, SplittingAPromptChangesNoBit) {
  for (KvStorage storage : kStorages)
    for (int window : {0, 100}) {
      const AttentionCase c{.heads = 6, .kv_heads = 2, .window = window, .storage = storage};
      AttentionRig whole(c);
      auto sequence = whole.sequence();
      const auto wanted = whole.feed(*sequence, {600});
      for (const std::vector<int>& sizes :
           {std::vector<int>(600, 1), std::vector<int>{1, 7, 64, 300, 228}, std::vector<int>{256, 256, 88}}) {
        AttentionRig rig(c);
        auto other = rig.sequence();
        ASSERT_TRUE(same_bits(wanted, rig.feed(*other, sizes)))
            << "storage " << static_cast<int>(storage) << " window " << window << " calls " << sizes.size();
      }
    }
}

TEST(Attention, ThreadsAndSplitsChangeNoBit) {
  const AttentionCase one{.heads = 9, .kv_heads = 3, .threads = 1};
  AttentionRig rig(one);
  auto sequence = rig.sequence();
  const auto wanted = rig.feed(*sequence, {1000, 200, 1, 1, 3});
  for (int threads : {2, 4, 16}) {
    AttentionCase many = one;
    many.threads = threads;
    AttentionRig other(many);
    auto copy = other.sequence();
    EXPECT_TRUE(same_bits(wanted, other.feed(*copy, {1000, 200, 1, 1, 3}))) << threads;
  }
}

TEST(Attention, ConcurrentItemsChangeNoBit) {
  const AttentionCase c{.heads = 9, .kv_heads = 3, .threads = 4};
  AttentionRig rig(c), other(c);
  auto sequence = rig.sequence(), copy = other.sequence();
  rig.feed(*sequence, {1100});
  other.feed(*copy, {1100});
  const auto wanted = rig.feed(*sequence, {1});
  const auto rows = AttentionRig::chain(*copy, 1);
  ASSERT_TRUE(other.plan().prepare(rows, false, 0, 1));
  const auto q = other.values(0, 0, 1100), k = other.values(1, 0, 1100), v = other.values(2, 0, 1100);
  for (int item = 0; item < other.plan().store_items(0); ++item) other.plan().store(0, item, k.data(), v.data());
  std::vector<float> got(wanted.size());
  std::atomic<int> next = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      for (int item = next++; item < other.plan().attend_items(0); item = next++)
        other.plan().attend(0, item, t, q.data(), got.data());
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_TRUE(same_bits(wanted, got));
}

TEST(Attention, OtherSequencesInTheCallChangeNoBit) {
  const AttentionCase c{.heads = 3, .kv_heads = 1};
  AttentionRig alone(c), together(c);
  auto a = alone.sequence();
  const auto wanted = alone.feed(*a, {40, 1, 1});
  auto x = together.sequence(), y = together.sequence(), z = together.sequence();
  together.feed(*y, {300});
  together.feed(*z, {7});
  together.feed(*x, {40});
  const std::size_t width = 96;
  for (int step = 0; step < 2; ++step) {
    const auto part = [](SequenceCache& s) { return AttentionRig::chain(s, 1)[0]; };
    // Rows of one sequence need not stand together.
    std::vector<Row> rows = {part(*y), part(*x), part(*z), part(*y)};
    rows[3].position += 1;
    const auto got = together.forward(rows).value();
    EXPECT_TRUE(same_bits(row_of(wanted, static_cast<std::size_t>(40 + step), width), row_of(got, 1, width)));
  }
  EXPECT_EQ(y->length(), 304);
}

TEST(Attention, TreesGiveTheBitsOfPlainDecoding) {
  // Two branches from base: 0-1-2 and 0-3-4-5, and a second root 6.
  const std::vector<std::int32_t> parents = {-1, 0, 1, 0, 3, 4, -1}, depths = {0, 1, 2, 1, 2, 3, 0};
  for (KvStorage storage : kStorages)
    for (int base : {0, 5, 14, 250, 255, 256, 500})
      for (int window : {0, 40}) {
        const AttentionCase c{.heads = 6, .kv_heads = 2, .window = window, .storage = storage};
        AttentionRig rig(c);
        auto sequence = rig.sequence();
        if (base > 0) rig.feed(*sequence, {base});
        std::vector<Row> rows;
        std::vector<int> tokens;
        for (std::size_t i = 0; i < parents.size(); ++i) {
          rows.push_back({.sequence = sequence.get(), .position = base + depths[i], .parent = parents[i]});
          tokens.push_back(static_cast<int>(i) + 1);
        }
        const auto got = rig.forward(rows, tokens, true).value();
        ASSERT_TRUE(sequence->keep_path(base, std::vector<std::int32_t>{0, 3, 4, 5}));
        ASSERT_EQ(sequence->length(), base + 4);
        auto plain = rig.sequence();
        if (base > 0) rig.feed(*plain, {base});
        const std::size_t path[] = {0, 3, 4, 5};
        for (std::size_t depth = 0; depth < 4; ++depth) {
          const auto wanted = rig.forward(AttentionRig::chain(*plain, 1), {tokens[path[depth]]}).value();
          ASSERT_TRUE(same_bits(wanted, row_of(got, path[depth], 6 * 32)))
              << "storage " << static_cast<int>(storage) << " base " << base << " window " << window << " depth "
              << depth;
        }
        const auto next = rig.forward(AttentionRig::chain(*sequence, 1)).value();
        ASSERT_TRUE(same_bits(rig.forward(AttentionRig::chain(*plain, 1)).value(), next)) << "after keep_path";
      }
}

TEST(Attention, AChainGivenAsATreeIsAChain) {
  const AttentionCase c;
  AttentionRig rig(c);
  auto a = rig.sequence(), b = rig.sequence();
  rig.feed(*a, {20}), rig.feed(*b, {20});
  auto rows = AttentionRig::chain(*a, 5);
  for (int i = 0; i < 5; ++i) rows[static_cast<std::size_t>(i)].parent = i - 1;
  EXPECT_TRUE(same_bits(rig.forward(rows, {}, true).value(), rig.feed(*b, {5})));
}

TEST(Attention, RefusesRowsItCannotPlace) {
  AttentionRig rig({.layers = 2, .context = 30});
  auto a = rig.sequence(), b = rig.sequence();
  const auto code = [&](std::vector<Row> rows, bool tree) { return rig.forward(rows, {}, tree).error().code; };
  EXPECT_EQ(code({{.sequence = nullptr}}, false), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code({{.sequence = a.get(), .parent = 0}}, true), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code({{.sequence = a.get(), .parent = -2}}, true), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code({{.sequence = a.get()}, {.sequence = b.get(), .parent = 0}}, true), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code(AttentionRig::chain(*a, 31), false), ErrorCode::kExhausted);
  EXPECT_EQ(a->length(), 0);
  // Layer 0 alone grows; a call of both layers is then refused, one of layer 0 is not.
  ASSERT_TRUE(rig.plan().prepare(AttentionRig::chain(*a, 3), false, 0, 1));
  rig.plan().commit();
  EXPECT_EQ(a->slots(0), 3);
  EXPECT_EQ(a->length(), 0);
  EXPECT_EQ(code(AttentionRig::chain(*a, 1), false), ErrorCode::kInvalidArgument);
  EXPECT_TRUE(rig.plan().prepare(AttentionRig::chain(*a, 1), false, 0, 1));
}

TEST(Attention, WeightsOfARowSumToOneAndExplainItsResult) {
  const AttentionCase c{.heads = 4, .kv_heads = 2, .window = 300, .storage = KvStorage::kF32};
  AttentionRig rig(c);
  auto sequence = rig.sequence();
  rig.feed(*sequence, {520});
  const auto result = rig.forward(AttentionRig::chain(*sequence, 2), {}, false, false).value();
  const int row = 1, head = 3;
  const auto weights = rig.plan().weights(0, row, head, rig.queries().data());
  ASSERT_EQ(weights.size(), 522u);
  double sum = 0;
  std::vector<double> out(32);
  for (std::size_t p = 0; p < weights.size(); ++p) {
    if (p < 522 - 300) ASSERT_EQ(weights[p], 0.0f);
    sum += static_cast<double>(weights[p]);
    const auto v = rig.values(2, 0, static_cast<std::int64_t>(p));
    for (std::size_t n = 0; n < 32; ++n) out[n] += static_cast<double>(weights[p]) * static_cast<double>(v[32 + n]);
  }
  EXPECT_NEAR(sum, 1, 1e-5);
  for (std::size_t n = 0; n < 32; ++n) EXPECT_NEAR(out[n], result[row * 128 + head * 32 + n], 1e-5);
}

}  // namespace
}  // namespace kinglet
