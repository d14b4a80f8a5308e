#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <numeric>
#include <random>

#include "base/sha256.h"
#include "engine/attention_helper.h"
#include "engine/cache/sequence_cache.h"

namespace kinglet {
namespace {

using test::AttentionCase;
using test::AttentionRig;
using test::same_bits;

std::vector<float> next_row(AttentionRig& rig, SequenceCache& sequence) {
  return rig.forward(AttentionRig::chain(sequence, 1)).value();
}

TEST(PagedStore, CountsSharedPagesOnceAndReusesThem) {
  PagedStore store({.storage = KvStorage::kF16, .key_length = 64, .value_length = 64});
  EXPECT_EQ(store.page_bytes(), 65536u);
  const KvPage a = store.claim().value(), b = store.claim().value();
  EXPECT_EQ(b.data - a.data, 65536) << "pages claimed one after another are neighbours";
  store.retain(a);
  EXPECT_TRUE(store.is_shared(a));
  EXPECT_EQ(store.bytes_in_use(), 2 * 65536u);
  store.release(a);
  EXPECT_FALSE(store.is_shared(a));
  store.release(a);
  EXPECT_EQ(store.bytes_in_use(), 65536u);
  EXPECT_EQ(store.claim().value().data, a.data);
  EXPECT_EQ(store.bytes_held(), std::uint64_t{4} << 20);
  store.release(b);
}

TEST(PagedStore, APageForgetsTheValuesOfItsLastUser) {
  PagedStore store({.storage = KvStorage::kF32, .key_length = 16, .value_length = 16});
  KvPage page = store.claim().value();
  const float nan = std::numeric_limits<float>::quiet_NaN();
  page.written = 16;
  std::memcpy(store.value_group(page, 15), &nan, 4);
  store.release(page);
  const KvPage again = store.claim().value();
  ASSERT_EQ(again.data, page.data);
  float found = 1;
  std::memcpy(&found, store.value_group(again, 15), 4);
  EXPECT_EQ(found, 0.0f);
  store.release(again);
}

TEST(SequenceCache, AForkCopiesOnlyWhatWasWritten) {
  AttentionRig rig({.layers = 1});
  auto sequence = rig.sequence();
  rig.feed(*sequence, {40});
  auto forked = sequence->fork().value();
  auto& fork = static_cast<SequenceCache&>(*forked);
  next_row(rig, fork);
  // 41 slots are three groups of sixteen; the rest of the new page was never touched.
  const PagedStore& store = rig.store();
  const std::byte* written = fork.key_group(0, 0, 2);
  const std::byte* behind = fork.key_group(0, 0, 3);
  const auto is_zero = [](std::byte byte) { return byte == std::byte{0}; };
  EXPECT_FALSE(std::all_of(written, written + store.layout().key_group_bytes(), is_zero));
  EXPECT_TRUE(std::all_of(behind, behind + 13 * store.layout().key_group_bytes(), is_zero));
  EXPECT_NE(written, sequence->key_group(0, 0, 2));
}

TEST(SequenceCache, OneUsersNanNeverReachesAnother) {
  AttentionRig rig({});
  auto good = rig.sequence();
  const auto wanted = rig.feed(*good, {20});
  good.reset();
  {
    auto bad = rig.sequence();
    std::vector<std::int32_t> positions(200);
    std::iota(positions.begin(), positions.end(), 0);
    ASSERT_TRUE(bad->reserve(0, 1, positions));
    const std::vector<float> nan(32, std::numeric_limits<float>::quiet_NaN());
    for (int p = 0; p < 200; ++p) {
      attention().store_key[1](nan.data(), 32, bad->key_group(0, 0, p / 16), p % 16);
      attention().store_value[1](nan.data(), 32, bad->value_group(0, 0, p / 16), p % 16);
    }
  }
  auto other = rig.sequence();
  EXPECT_TRUE(same_bits(wanted, rig.feed(*other, {20})));
}

TEST(SequenceCache, TruncatedSequencesContinueAsIfTheyHadNeverBeenLonger) {
  for (int window : {0, 64}) {
    AttentionRig rig({.window = window});
    for (int keep : {0, 1, 16, 255, 256, 290}) {
      auto a = rig.sequence(), b = rig.sequence();
      rig.feed(*a, {300});
      if (keep > 0) rig.feed(*b, {keep});
      ASSERT_TRUE(a->truncate(keep)) << keep;
      EXPECT_EQ(a->length(), keep);
      EXPECT_EQ(a->bytes(), b->bytes());
      EXPECT_TRUE(same_bits(next_row(rig, *a), next_row(rig, *b))) << "window " << window << " keep " << keep;
    }
    auto a = rig.sequence();
    rig.feed(*a, {10});
    EXPECT_EQ(a->truncate(11).error().code, ErrorCode::kInvalidArgument);
    EXPECT_EQ(a->truncate(-1).error().code, ErrorCode::kInvalidArgument);
  }
}

TEST(SequenceCache, ASlidingLayerIsBoundedAndSaysWhatItForgot) {
  AttentionRig rig({.window = 100});
  auto a = rig.sequence();
  std::uint64_t most = 0;
  for (int i = 0; i < 30; ++i) {
    rig.feed(*a, {90});
    most = std::max(most, a->bytes());
  }
  EXPECT_EQ(a->length(), 2700);
  EXPECT_LE(most, 4 * rig.store().page_bytes()) << "window, rollback, and what the pages hold beside";
  EXPECT_EQ(rig.store().bytes_in_use(), a->bytes());
  // Drafted tokens can be taken back.
  auto same = rig.sequence();
  for (int i = 0; i < 30; ++i) rig.feed(*same, {i < 29 ? 90 : 70});
  ASSERT_TRUE(a->truncate(2680));
  EXPECT_TRUE(same_bits(next_row(rig, *a), next_row(rig, *same)));
  const auto refused = a->truncate(500);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kUnsupported);
  EXPECT_EQ(a->length(), 2681);
  EXPECT_TRUE(a->truncate(0));
  EXPECT_EQ(rig.store().bytes_in_use(), same->bytes());
  auto fresh = rig.sequence();
  EXPECT_TRUE(same_bits(rig.feed(*a, {300}), rig.feed(*fresh, {300})));
}

TEST(SequenceCache, ForksSharePagesAndThenGoTheirOwnWays) {
  AttentionRig rig({.layers = 1});
  auto a = rig.sequence();
  rig.feed(*a, {300});
  const std::uint64_t before = rig.store().bytes_in_use();
  auto forked = a->fork().value();
  auto& b = static_cast<SequenceCache&>(*forked);
  EXPECT_EQ(b.length(), 300);
  EXPECT_EQ(rig.store().bytes_in_use(), before);
  // Different tokens at the same position, then equal ones: each sees its own.
  auto plain_a = rig.sequence(), plain_b = rig.sequence();
  rig.feed(*plain_a, {300}), rig.feed(*plain_b, {300});
  for (int token : {1, 0}) {
    const auto step = [&](SequenceCache& s, int t) { return rig.forward(AttentionRig::chain(s, 1), {t}).value(); };
    EXPECT_TRUE(same_bits(step(*a, 3 + token), step(*plain_a, 3 + token)));
    EXPECT_TRUE(same_bits(step(b, 7 * token), step(*plain_b, 7 * token)));
  }
  plain_a.reset(), plain_b.reset();
  EXPECT_EQ(rig.store().bytes_in_use(), before + rig.store().page_bytes()) << "only the last page was copied";
  a.reset();
  EXPECT_EQ(rig.store().bytes_in_use(), b.bytes());
  forked.reset();
  EXPECT_EQ(rig.store().bytes_in_use(), 0u);
}

TEST(SequenceCache, AForkCutBackIntoSharedPagesDoesNotWriteThem) {
  AttentionRig rig({});
  auto a = rig.sequence();
  rig.feed(*a, {600});
  auto forked = a->fork().value();
  auto& b = static_cast<SequenceCache&>(*forked);
  ASSERT_TRUE(b.truncate(100));
  rig.forward(AttentionRig::chain(b, 300), std::vector<int>(300, 5)).value();
  auto plain = rig.sequence();
  rig.feed(*plain, {600});
  EXPECT_TRUE(same_bits(next_row(rig, *a), next_row(rig, *plain)));
}

TEST(SequenceCache, KeepPathRefusesSlotsThatWereNotWritten) {
  AttentionRig rig({});
  auto a = rig.sequence();
  rig.feed(*a, {10});
  const auto keep = [&](std::int64_t base, std::vector<std::int32_t> offsets) { return a->keep_path(base, offsets); };
  EXPECT_EQ(keep(8, {0, 2}).error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(keep(8, {1, 0}).error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(keep(11, {}).error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(keep(-1, {}).error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(a->length(), 10);
  EXPECT_EQ(keep(8, {1}).error().code, ErrorCode::kInvalidArgument) << "its key stands at position 9";
  EXPECT_TRUE(keep(8, {0}));
  EXPECT_EQ(a->length(), 9);
  EXPECT_TRUE(keep(4, {}));
  EXPECT_EQ(a->length(), 4);
}

TEST(SequenceCache, KeepPathSaysWhatASlidingLayerForgot) {
  AttentionRig rig({.window = 100});
  auto a = rig.sequence();
  rig.feed(*a, {1000, 1000});
  const std::vector<std::int32_t> one = {0};
  EXPECT_EQ(a->keep_path(1000, one).error().code, ErrorCode::kUnsupported);
  EXPECT_EQ(a->length(), 2000);
  EXPECT_TRUE(a->keep_path(1900, one));
  EXPECT_EQ(a->length(), 1901);
}

TEST(SequenceCache, KeepPathAfterAnUncommittedTree) {
  AttentionRig rig({});
  auto a = rig.sequence(), plain = rig.sequence();
  rig.feed(*a, {30}), rig.feed(*plain, {30});
  std::vector<Row> rows = {{.sequence = a.get(), .position = 30}, {.sequence = a.get(), .position = 30}};
  rig.forward(rows, {4, 0}, true, false).value();
  EXPECT_EQ(a->length(), 30);
  ASSERT_TRUE(a->keep_path(30, std::vector<std::int32_t>{1}));
  EXPECT_EQ(a->length(), 31);
  next_row(rig, *plain);
  EXPECT_TRUE(same_bits(next_row(rig, *a), next_row(rig, *plain)));
}

TEST(SequenceCache, SnapshotsRestoreAndEqualSequencesHaveEqualBytes) {
  for (KvStorage storage : {KvStorage::kF32, KvStorage::kF16, KvStorage::kBf16, KvStorage::kInt8, KvStorage::kInt4})
    for (int window : {0, 50}) {
      const AttentionCase c{.heads = 4, .kv_heads = 2, .layers = 1, .window = window, .storage = storage};
      AttentionRig rig(c), second(c);
      auto a = rig.sequence(), longer = rig.sequence();
      rig.feed(*a, {700, 3});
      rig.feed(*longer, {700, 5, 1});
      ASSERT_TRUE(longer->truncate(703));
      const std::string bytes = a->snapshot().value();
      EXPECT_EQ(bytes, longer->snapshot().value()) << "what was taken back leaves no trace";
      auto b = second.sequence();
      second.feed(*b, {9});
      ASSERT_TRUE(b->restore(bytes)) << b->restore(bytes).error().text();
      EXPECT_EQ(b->length(), 703);
      EXPECT_EQ(b->snapshot().value(), bytes);
      EXPECT_EQ(second.store().bytes_in_use(), b->bytes());
      EXPECT_TRUE(same_bits(next_row(rig, *a), next_row(second, *b)));
    }
}

TEST(SequenceCache, AnEmptySequenceHasASnapshot) {
  AttentionRig rig({});
  auto a = rig.sequence(), b = rig.sequence();
  rig.feed(*b, {5});
  ASSERT_TRUE(b->restore(a->snapshot().value()));
  EXPECT_EQ(b->length(), 0);
}

TEST(SequenceCache, ASnapshotOfAnotherShapeIsRefusedByName) {
  AttentionRig rig({.layers = 2});
  auto a = rig.sequence();
  rig.forward(AttentionRig::chain(*a, 20)).value();
  const std::string bytes = a->snapshot().value();
  const AttentionCase others[] = {{.layers = 3},
                                  {.key_length = 48, .layers = 2},
                                  {.value_length = 48, .layers = 2},
                                  {.heads = 2, .kv_heads = 2, .layers = 2},
                                  {.layers = 2, .window = 5},
                                  {.layers = 2, .storage = KvStorage::kF32}};
  for (const AttentionCase& other : others) {
    AttentionRig second(other);
    auto b = second.sequence();
    const auto result = b->restore(bytes);
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code, ErrorCode::kUnsupported) << result.error().text();
    EXPECT_FALSE(result.error().hint.empty());
  }
  AttentionRig small({.layers = 2, .context = 19});
  EXPECT_EQ(small.sequence()->restore(bytes).error().code, ErrorCode::kCorrupt);
}

/// Gives changed bytes a valid checksum, so that the checks behind it are reached.
std::string resealed(std::string body) {
  const auto digest = sha256(body).bytes();
  return body + std::string(digest.begin(), digest.end());
}

TEST(SequenceCache, EveryCutOrChangedSnapshotIsRefusedOrHarmless) {
  AttentionRig rig({.layers = 2, .window = 40});
  auto a = rig.sequence();
  for (int i = 0; i < 4; ++i) rig.forward(AttentionRig::chain(*a, 100)).value();
  const std::string bytes = a->snapshot().value(), body = bytes.substr(0, bytes.size() - 32);
  auto b = rig.sequence();
  rig.forward(AttentionRig::chain(*b, 3)).value();
  const std::uint64_t in_use = rig.store().bytes_in_use();
  for (std::size_t cut = 0; cut < 200; ++cut) {
    EXPECT_FALSE(b->restore(bytes.substr(0, cut)));
    EXPECT_FALSE(b->restore(resealed(body.substr(0, cut)))) << cut;
  }
  EXPECT_FALSE(b->restore(resealed(body.substr(0, body.size() - 1))));
  EXPECT_FALSE(b->restore(resealed(body + '\0')));
  for (std::size_t at = 0; at < bytes.size(); at += at < 200 ? 1 : 997) {
    std::string changed = bytes;
    changed[at] = static_cast<char>(changed[at] ^ 0x40);
    EXPECT_FALSE(b->restore(changed)) << at;
  }
  EXPECT_EQ(b->length(), 3) << "a refused snapshot changes nothing";
  EXPECT_EQ(rig.store().bytes_in_use(), in_use);
  std::mt19937 random(1);
  for (int i = 0; i < 3000; ++i) {
    std::string changed = body;
    for (int k = 0; k < 2; ++k)
      changed[random() % 160] = static_cast<char>(random() % 3 == 0 ? random() : (random() % 2 ? 0xff : 0));
    if (b->restore(resealed(changed))) {
      EXPECT_LE(b->slots(0), 400);
      EXPECT_LE(b->slots(1), 400);
      // Layers of different lengths are possible, and refused by the next call.
      EXPECT_TRUE(rig.forward(AttentionRig::chain(*b, 1)) || b->seen(0) != b->seen(1));
    }
  }
}

}  // namespace
}  // namespace kinglet
