#include <gtest/gtest.h>

#include <algorithm>

#include "decode/continuation_index.h"
#include "decode/draft_shared.h"
#include "decode/random.h"
#include "fake_engine.h"
#include "kinglet/draft.h"

namespace kinglet {
namespace {

/// The same by looking through the whole text.
std::vector<ContinuationIndex::Candidate> slow_find(std::span<const TokenId> text, std::span<const TokenId> context) {
  std::vector<ContinuationIndex::Candidate> found;
  for (int length = ContinuationIndex::kLongest; length > 0; --length) {
    if (context.size() < static_cast<std::size_t>(length)) continue;
    const auto suffix = context.last(static_cast<std::size_t>(length));
    std::vector<TokenId> kept;  // the index keeps the most recent different tokens after each n-gram
    for (std::size_t at = text.size(); at-- > static_cast<std::size_t>(length);) {
      if (!std::equal(suffix.begin(), suffix.end(), text.begin() + static_cast<std::ptrdiff_t>(at) - length)) continue;
      if (std::find(kept.begin(), kept.end(), text[at]) != kept.end()) continue;
      if (kept.size() == ContinuationIndex::kKept) break;
      kept.push_back(text[at]);
      if (std::any_of(found.begin(), found.end(), [&](const auto& one) { return one.token == text[at]; })) continue;
      int agreed = 0;
      while (agreed < ContinuationIndex::kCompared && static_cast<std::size_t>(agreed) < std::min(context.size(), at) &&
             context[context.size() - 1 - static_cast<std::size_t>(agreed)] ==
                 text[at - 1 - static_cast<std::size_t>(agreed)])
        ++agreed;
      if (found.size() < ContinuationIndex::kKept) found.push_back({text[at], static_cast<std::uint32_t>(at), agreed});
    }
  }
  return found;
}

TEST(ContinuationIndex, FindsWhatFollowedTheLongestMatches) {
  for (const int vocabulary : {2, 5, 40, 100000}) {
    Random random(static_cast<std::uint64_t>(vocabulary));
    ContinuationIndex index;
    std::vector<TokenId> text;
    for (int i = 0; i < 400; ++i) {
      text.push_back(static_cast<TokenId>(random.next() % static_cast<std::uint64_t>(vocabulary)));
      index.push(text.back());
      std::vector<TokenId> context(text);
      for (std::uint64_t more = random.next() % 3; more > 0; --more)  // as along a proposal
        context.push_back(static_cast<TokenId>(random.next() % static_cast<std::uint64_t>(vocabulary)));
      ContinuationIndex::Candidates fast;
      const int found = index.find(context, fast);
      const auto slow = slow_find(text, context);
      ASSERT_EQ(static_cast<std::size_t>(found), slow.size()) << vocabulary << " " << i;
      for (std::size_t k = 0; k < slow.size(); ++k) {
        EXPECT_EQ(fast[k].token, slow[k].token);
        EXPECT_EQ(fast[k].at, slow[k].at);
        EXPECT_EQ(fast[k].length, slow[k].length);
      }
    }
  }
}

std::unique_ptr<Drafter> ngram(std::shared_ptr<DraftShared> shared = nullptr) {
  DraftContext context;
  context.shared = std::move(shared);
  auto made = make_drafter("ngram", context);
  return made ? std::move(*made) : nullptr;
}

TEST(NgramDrafter, ProposesWhatFollowedAndRepeatsAPeriod) {
  const auto drafter = ngram();
  ASSERT_NE(drafter, nullptr);
  std::vector<TokenId> text;
  for (int i = 0; i < 30; ++i) text.push_back(i % 10);
  Draft draft;
  drafter->propose(text, 12, draft);
  ASSERT_EQ(draft.size(), 12u);
  EXPECT_TRUE(draft.is_chain());
  for (int i = 0; i < 12; ++i) EXPECT_EQ(draft.tokens[static_cast<std::size_t>(i)], i % 10);
}

TEST(NgramDrafter, BranchesWhereTheTextDid) {
  const auto drafter = ngram();
  ASSERT_NE(drafter, nullptr);
  std::vector<TokenId> text;
  for (int i = 0; i < 40; ++i) {  // 1 2 is followed by 3 and by 4 in turn
    text.insert(text.end(), {1, 2, i % 2 == 0 ? 3 : 4, 100 + i});
    Draft draft;
    drafter->propose(text, 8, draft);
  }
  text.insert(text.end(), {1, 2});
  Draft draft;
  drafter->propose(text, 8, draft);
  std::vector<TokenId> first;
  for (std::size_t i = 0; i < draft.size(); ++i)
    if (draft.parents[i] < 0) first.push_back(draft.tokens[i]);
  std::sort(first.begin(), first.end());
  EXPECT_EQ(first, (std::vector<TokenId>{3, 4}));
}

TEST(NgramDrafter, ProposesNothingWhereRowsCostAsMuchAsPasses) {
  const auto shared = std::make_shared<DraftShared>();
  PassCosts* costs = &shared->costs;
  for (int round = 0; round < 200; ++round)
    for (std::size_t rows = 1; rows <= 16; ++rows) costs->observe(rows, 0.01 * static_cast<double>(rows));
  EXPECT_NEAR(costs->relative(8), 8, 2);
  EXPECT_LT(costs->value(4, 4.5), 1);
  const auto drafter = ngram(shared);
  Random random(3);
  std::vector<TokenId> text;
  for (int i = 0; i < 300; ++i) {
    text.push_back(static_cast<TokenId>(random.next() % 4));
    Draft draft;
    drafter->propose(text, 16, draft);
    if (i > 100) EXPECT_EQ(draft.size(), 0u) << i;
  }
}

TEST(NgramDrafter, StopsProposingWhatNeverStands) {
  const auto drafter = ngram();
  Random random(5);
  std::vector<TokenId> text;
  int proposals = 0;
  for (int i = 0; i < 400; ++i) {
    text.push_back(static_cast<TokenId>(random.next() % 50));  // n-grams of one token come again, what follows does not
    Draft draft;
    drafter->propose(text, 16, draft);
    if (i >= 300) proposals += draft.size() > 0;
  }
  EXPECT_LT(proposals, 60);
}

TEST(NgramDrafter, ReadsAShorterTextAnew) {
  const auto drafter = ngram();
  Draft draft;
  drafter->propose(std::vector<TokenId>{1, 2, 3, 9, 1, 2, 3}, 4, draft);
  draft.clear();
  drafter->propose(std::vector<TokenId>{4, 5, 4}, 4, draft);
  for (const TokenId token : draft.tokens) EXPECT_TRUE(token == 4 || token == 5);
}

TEST(PassCosts, FollowsTheMachineAndKeepsTheShape) {
  PassCosts costs;
  const auto seconds = [](std::size_t rows) { return 0.01 * (1 + 0.2 * static_cast<double>(rows - 1)); };
  for (int round = 0; round < 100; ++round)
    for (const std::size_t rows : {1, 3, 6, 9, 12}) costs.observe(rows, seconds(rows));
  for (const std::size_t rows : {3, 6, 9, 12}) EXPECT_NEAR(costs.relative(rows), seconds(rows) / 0.01, 0.4) << rows;
  const double before = costs.relative(6);
  for (int round = 0; round < 10; ++round)
    for (const std::size_t rows : {1, 3, 6, 9, 12}) costs.observe(rows, 3 * seconds(rows));  // the machine got slower
  EXPECT_NEAR(costs.level(), 0.03, 0.006);
  EXPECT_NEAR(costs.relative(6), before, 0.2);
  costs.observe(6, 5);  // one stall
  EXPECT_NEAR(costs.relative(6), before, 0.3);
}

}  // namespace
}  // namespace kinglet
