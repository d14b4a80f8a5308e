// The fast merge loops against the plainest one: find the lowest rank, leftmost, merge it, look again.
#include "model/tokenizer/merge.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

namespace kinglet {
namespace {

using Table = std::map<std::pair<TokenId, TokenId>, Merge>;

Merge find_in(const Table& table, TokenId left, TokenId right) {
  const auto found = table.find({left, right});
  return found == table.end() ? Merge{} : found->second;
}

std::vector<TokenId> slow(const Table& table, std::vector<TokenId> ids) {
  while (true) {
    Merge best;
    std::size_t where = 0;
    for (std::size_t k = 0; k + 1 < ids.size(); ++k)
      if (const Merge merge = find_in(table, ids[k], ids[k + 1]); merge.rank < best.rank) best = merge, where = k;
    if (!best.possible()) return ids;
    ids[where] = best.id;
    ids.erase(ids.begin() + static_cast<std::ptrdiff_t>(where) + 1);
  }
}

std::vector<TokenId> fast(const Table& table, const std::vector<TokenId>& ids, MergeScratch& scratch) {
  std::vector<Symbol> symbols;
  for (TokenId id : ids) symbols.push_back({id, 1});
  merge_symbols(symbols, 0, scratch, [&](const Symbol& left, const Symbol& right, std::uint32_t) {
    return find_in(table, left.id, right.id);
  });
  std::vector<TokenId> out;
  for (const Symbol& symbol : symbols) out.push_back(symbol.id);
  return out;
}

/// Merges in any order of ranks, so that a merge may make way for one of a lower rank.
Table random_table(std::mt19937& random, int letters, int merges) {
  Table table;
  std::vector<std::uint32_t> ranks(static_cast<std::size_t>(merges));
  for (std::uint32_t k = 0; k < ranks.size(); ++k) ranks[k] = k;
  std::shuffle(ranks.begin(), ranks.end(), random);
  for (int k = 0; k < merges; ++k) {
    const TokenId left = static_cast<TokenId>(random() % static_cast<unsigned>(letters + k));
    const TokenId right = static_cast<TokenId>(random() % static_cast<unsigned>(letters + k));
    table.insert({{left, right}, {ranks[static_cast<std::size_t>(k)], letters + k}});
  }
  return table;
}

TEST(MergeTable, FindsEachPairAndNoOther) {
  std::mt19937 random(3);
  for (const std::size_t count : {0u, 1u, 2u, 63u, 64u, 5000u}) {
    MergeTable table(count);
    std::map<std::pair<TokenId, TokenId>, Merge> wanted;
    for (std::uint32_t rank = 0; rank < count; ++rank) {
      // Some pairs come twice: the first counts, and the second has a rank of its own all the same.
      const auto left = static_cast<TokenId>(random() % 200), right = static_cast<TokenId>(random() % 200);
      wanted.insert({{left, right}, {rank, static_cast<TokenId>(rank * 3)}});
      table.add(left, right, static_cast<TokenId>(rank * 3));
    }
    for (TokenId left = 0; left < 200; ++left)
      for (TokenId right = 0; right < 200; ++right) {
        const Merge found = table.find(left, right), expected = find_in(wanted, left, right);
        ASSERT_EQ(found.rank, expected.rank) << count << ": " << left << " " << right;
        ASSERT_EQ(found.id, expected.id);
      }
  }
}

TEST(MergeSymbols, EqualsTheSlowReferenceOnRandomWords) {
  std::mt19937 random(7);
  MergeScratch scratch;
  for (int round = 0; round < 300; ++round) {
    const Table table = random_table(random, 3, 40);
    for (std::size_t size : {1u, 2u, 5u, 32u, 33u, 90u, 200u}) {
      std::vector<TokenId> ids(size);
      for (TokenId& id : ids) id = static_cast<TokenId>(random() % 3);
      ASSERT_EQ(fast(table, ids, scratch), slow(table, ids)) << "round " << round << ", size " << size;
    }
  }
}

TEST(MergeSymbols, EqualsTheSlowReferenceOnOneRepeatedSymbol) {
  std::mt19937 random(8);
  MergeScratch scratch;
  for (int round = 0; round < 2000; ++round) {
    const Table table = random_table(random, 1, 12);
    const std::vector<TokenId> ids(33 + random() % 120, 0);
    ASSERT_EQ(fast(table, ids, scratch), slow(table, ids)) << "round " << round << ", size " << ids.size();
  }
}

TEST(MergeSymbols, TakesAMillionSymbolsWithoutQuadraticWork) {
  // A quadratic loop would take minutes and run into the time limit of the test.
  Table table;
  for (TokenId k = 0; k < 20; ++k) table[{k, k}] = {static_cast<std::uint32_t>(20 - k), k + 1};
  MergeScratch scratch;
  std::vector<TokenId> ids(1 << 18, 0);
  EXPECT_EQ(fast(table, ids, scratch).size(), 1u);
  ids[1000] = 19;
  EXPECT_GT(fast(table, ids, scratch).size(), 1u);
}

}  // namespace
}  // namespace kinglet
