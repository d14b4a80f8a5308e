// Slots that do not hold their own numbers: rows fed out of order, with gaps, and what a sequence does with them.
#include <gtest/gtest.h>

#include "engine/attention_helper.h"

namespace kinglet {
namespace {

using test::AttentionCase;
using test::AttentionRig;
using test::same_bits;

std::vector<Row> rows_at(SequenceCache& sequence, const std::vector<std::int32_t>& positions) {
  std::vector<Row> rows;
  for (const std::int32_t position : positions) rows.push_back({.sequence = &sequence, .position = position});
  return rows;
}

std::vector<float> row_of(const std::vector<float>& all, std::size_t row, std::size_t width) {
  return {all.begin() + static_cast<std::ptrdiff_t>(row * width),
          all.begin() + static_cast<std::ptrdiff_t>((row + 1) * width)};
}

void expect_near(const std::vector<float>& a, const std::vector<float>& b, const std::string& what) {
  ASSERT_EQ(a.size(), b.size());
  for (std::size_t i = 0; i < a.size(); ++i) ASSERT_NEAR(a[i], b[i], 2e-6) << what;
}

TEST(PositionMap, KeepsTheIdentityWithoutAList) {
  PositionMap map;
  map.append(std::vector<std::int32_t>{0, 1, 2, 3});
  EXPECT_EQ(map.identity(), 4);
  EXPECT_TRUE(map.tail().empty());
  map.append(std::vector<std::int32_t>{4, 9, 6});
  EXPECT_EQ(map.identity(), 5);
  EXPECT_EQ(map.slots(), 7);
  EXPECT_EQ(map[4], 4);
  EXPECT_EQ(map[5], 9);
  EXPECT_FALSE(map.ascends());
  map.cut(6);
  EXPECT_TRUE(map.ascends());
  EXPECT_EQ(map.first_from(5), 5);
  EXPECT_EQ(map.first_from(10), 6);
  EXPECT_EQ(map.first_from(-3), 0);
  map.cut(3);
  EXPECT_EQ(map, PositionMap(2, {2}));
  EXPECT_EQ(map.slots(), 3);
}

TEST(PositionMap, KeepsWhatIsNamedAndFindsTheIdentityAgain) {
  PositionMap map(3, {3, 3, 4, 4, 5});
  EXPECT_EQ(map.identity(), 4);
  map.keep(3, std::vector<std::int64_t>{4, 6, 7});
  EXPECT_EQ(map, PositionMap(6, {}));
  map.keep(1, std::vector<std::int64_t>{3, 5});
  EXPECT_EQ(map, PositionMap(1, {3, 5}));
}

TEST(Positions, ARowSeesWhatStandsBeforeItWhateverTheOrderOfFilling) {
  for (const double cap : {0.0, 3.0})
    for (const int window : {0, 7}) {
      const AttentionCase c{.heads = 4, .kv_heads = 2, .window = window, .storage = KvStorage::kF32, .cap = cap};
      AttentionRig rig(c), plain(c);
      auto a = rig.sequence(), b = plain.sequence();
      const auto wanted = plain.feed(*b, {12});
      // 0-3 in order, then 8 and 9, then the ones between, one call and the next.
      rig.feed(*a, {4});
      rig.forward(rows_at(*a, {8, 9})).value();
      const auto first = rig.forward(rows_at(*a, {6, 4, 7})).value();
      const auto second = rig.forward(rows_at(*a, {5, 10, 11})).value();
      const std::size_t width = 4 * 32;
      expect_near(row_of(second, 0, width), row_of(wanted, 5, width), "position 5 sees 0 to 4");
      expect_near(row_of(second, 1, width), row_of(wanted, 10, width), "all are there");
      expect_near(row_of(second, 2, width), row_of(wanted, 11, width), "all are there");
      expect_near(row_of(first, 1, width), row_of(wanted, 4, width), "of its own call it sees no later position");
      EXPECT_EQ(a->length(), 12);
      EXPECT_EQ(a->slots(0), 12);
      EXPECT_EQ(a->positions(0)[5], 9);
    }
}

TEST(Positions, GapsAreNotSeenAndChunksStayRight) {
  const AttentionCase c{.heads = 9, .kv_heads = 3, .threads = 4, .storage = KvStorage::kF32};
  AttentionRig rig(c);
  auto a = rig.sequence();
  std::vector<std::int32_t> even;
  for (std::int32_t p = 0; p < 1400; p += 2) even.push_back(p);
  const auto whole = rig.forward(rows_at(*a, even)).value();
  EXPECT_EQ(a->length(), 1399);
  EXPECT_EQ(a->slots(0), 700);
  // One row at a time: many splits over the same slots.
  auto b = rig.sequence();
  rig.forward(rows_at(*b, {even.begin(), even.begin() + 600})).value();
  for (std::size_t i = 600; i < 610; ++i)
    EXPECT_TRUE(same_bits(rig.forward(rows_at(*b, {even[i]})).value(), row_of(whole, i, 9 * 32))) << i;
  // A late row sees half of them.
  const auto late = rig.forward(rows_at(*b, {601})).value();
  auto d = rig.sequence();
  rig.forward(rows_at(*d, {even.begin(), even.begin() + 301})).value();
  expect_near(rig.forward(rows_at(*d, {601})).value(), late, "late row");
}

TEST(Positions, LayersMayHoldDifferentSlots) {
  const AttentionCase c{.layers = 3, .storage = KvStorage::kF32};
  AttentionRig rig(c);
  auto a = rig.sequence();
  const auto at = [&](const std::vector<std::int32_t>& positions, int begin, int end) {
    ASSERT_TRUE(rig.plan().prepare(rows_at(*a, positions), false, begin, end));
    for (int layer = begin; layer < end; ++layer) {
      std::vector<float> k, v;
      for (const std::int32_t p : positions) {
        const auto key = rig.values(1, layer, p), value = rig.values(2, layer, p);
        k.insert(k.end(), key.begin(), key.end()), v.insert(v.end(), value.begin(), value.end());
      }
      for (int item = 0; item < rig.plan().store_items(layer); ++item)
        rig.plan().store(layer, item, k.data(), v.data());
    }
    rig.plan().commit();
  };
  at({0, 1, 2, 3, 4, 5}, 0, 1);
  at({0, 2, 3, 5}, 1, 2);
  at({1, 5}, 2, 3);
  EXPECT_EQ(a->length(), 6);
  const auto got = rig.forward(rows_at(*a, {6})).value();
  const std::vector<std::int32_t> kept[] = {{0, 1, 2, 3, 4, 5}, {0, 2, 3, 5}, {1, 5}};
  for (std::size_t layer = 0; layer < 3; ++layer) {
    auto alone = rig.sequence();
    rig.forward(rows_at(*alone, kept[layer])).value();
    EXPECT_TRUE(same_bits(row_of(rig.forward(rows_at(*alone, {6})).value(), layer, 96), row_of(got, layer, 96)))
        << layer;
  }
  // Cut by positions, each layer where its own slots end.
  ASSERT_TRUE(a->truncate(4));
  EXPECT_EQ(a->slots(0), 4);
  EXPECT_EQ(a->slots(1), 3);
  EXPECT_EQ(a->slots(2), 1);
  EXPECT_EQ(a->length(), 4);
}

TEST(Positions, ForkTruncateAndSnapshotCarryTheMap) {
  for (KvStorage storage : {KvStorage::kF32, KvStorage::kF16, KvStorage::kInt4}) {
    AttentionRig rig({.storage = storage});
    auto a = rig.sequence();
    rig.feed(*a, {40});
    rig.forward(rows_at(*a, {50, 45, 47, 60})).value();
    auto forked = a->fork().value();
    auto& b = static_cast<SequenceCache&>(*forked);
    EXPECT_EQ(b.positions(0), a->positions(0));
    auto c = rig.sequence();
    ASSERT_TRUE(c->restore(a->snapshot().value()));
    EXPECT_EQ(c->snapshot().value(), a->snapshot().value());
    const auto wanted = rig.forward(rows_at(*a, {61})).value();
    EXPECT_TRUE(same_bits(wanted, rig.forward(rows_at(b, {61})).value()));
    EXPECT_TRUE(same_bits(wanted, rig.forward(rows_at(*c, {61})).value()));
    // Positions from 48 on go, wherever they stand.
    ASSERT_TRUE(a->truncate(48));
    EXPECT_EQ(a->positions(0), PositionMap(40, {45, 47}));
    EXPECT_EQ(a->length(), 48);
    auto d = rig.sequence();
    rig.feed(*d, {40});
    rig.forward(rows_at(*d, {45, 47})).value();
    EXPECT_TRUE(same_bits(rig.forward(rows_at(*a, {48})).value(), rig.forward(rows_at(*d, {48})).value()));
    EXPECT_EQ(b.length(), 62) << "the fork keeps its own";
    EXPECT_EQ(b.positions(0)[41], 45);
  }
}

TEST(Positions, ATreeAfterGapsGivesTheBitsOfPlainDecoding) {
  const std::vector<std::int32_t> parents = {-1, 0, 1, 0, 3, -1}, depths = {0, 1, 2, 1, 2, 0}, path = {0, 3, 4};
  for (int window : {0, 30}) {
    AttentionRig rig({.heads = 6, .kv_heads = 2, .window = window});
    const auto start = [&] {
      auto sequence = rig.sequence();
      rig.feed(*sequence, {30});
      rig.forward(rows_at(*sequence, {40, 42, 50})).value();
      return sequence;
    };
    auto tree = start(), plain = start();
    std::vector<Row> rows;
    std::vector<int> tokens;
    for (std::size_t i = 0; i < parents.size(); ++i) {
      rows.push_back({.sequence = tree.get(), .position = 51 + depths[i], .parent = parents[i]});
      tokens.push_back(static_cast<int>(i) + 1);
    }
    const auto got = rig.forward(rows, tokens, true).value();
    ASSERT_TRUE(tree->keep_path(51, path));
    for (std::size_t depth = 0; depth < 3; ++depth) {
      const auto row = static_cast<std::size_t>(path[depth]);
      const auto wanted = rig.forward(rows_at(*plain, {51 + static_cast<std::int32_t>(depth)}), {tokens[row]}).value();
      EXPECT_TRUE(same_bits(wanted, row_of(got, row, 6 * 32))) << depth;
    }
    EXPECT_EQ(tree->positions(0), plain->positions(0));
    EXPECT_TRUE(same_bits(rig.forward(rows_at(*tree, {54})).value(), rig.forward(rows_at(*plain, {54})).value()));
  }
}

TEST(Positions, ASlidingLayerRefusesARowThatItCannotServe) {
  AttentionRig rig({.window = 50});
  auto a = rig.sequence();
  rig.feed(*a, {1000});
  EXPECT_EQ(rig.forward(rows_at(*a, {300})).error().code, ErrorCode::kUnsupported);
  EXPECT_EQ(a->length(), 1000);
  EXPECT_TRUE(rig.forward(rows_at(*a, {1002})));
}

}  // namespace
}  // namespace kinglet
