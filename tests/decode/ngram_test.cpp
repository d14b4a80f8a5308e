#include <gtest/gtest.h>

#include "decode/ngram_index.h"
#include "decode/random.h"
#include "fake_engine.h"
#include "kinglet/draft.h"

namespace kinglet {
namespace {

/// The same by looking through the whole text.
NgramIndex::Match slow_find(std::span<const TokenId> text) {
  for (int length = 3; length > 0; --length) {
    if (text.size() <= static_cast<std::size_t>(length)) continue;
    const auto suffix = text.last(static_cast<std::size_t>(length));
    for (std::size_t after = text.size() - 1; after >= static_cast<std::size_t>(length); --after)
      if (std::equal(suffix.begin(), suffix.end(), text.begin() + static_cast<std::ptrdiff_t>(after) - length))
        return {length, after};
  }
  return {};
}

TEST(NgramIndex, FindsTheLongestSuffixAtItsMostRecentPlace) {
  for (const int vocabulary : {2, 5, 40, 100000}) {
    Random random(static_cast<std::uint64_t>(vocabulary));
    NgramIndex index;
    std::vector<TokenId> text;
    for (int i = 0; i < 400; ++i) {
      text.push_back(static_cast<TokenId>(random.next() % static_cast<std::uint64_t>(vocabulary)));
      if (random.next() % 3 == 0) continue;  // several tokens at once, as after an accepted draft
      const auto fast = index.find(text), slow = slow_find(text);
      ASSERT_EQ(fast.length, slow.length) << i;
      if (fast.length > 0) ASSERT_EQ(fast.after, slow.after) << i;
    }
  }
}

TEST(NgramIndex, ReadsAShorterTextAnew) {
  NgramIndex index;
  const std::vector<TokenId> text = {1, 2, 3, 9, 1, 2, 3};
  EXPECT_EQ(index.find(text).length, 3);
  const std::vector<TokenId> other = {4, 5, 4};
  EXPECT_EQ(index.find(other).after, 1u);
  EXPECT_EQ(index.find(std::vector<TokenId>{}).length, 0);
}

TEST(NgramDrafter, ProposesWhatFollowedAndRepeatsAShortPeriod) {
  fake::FakeEngine engine(26, 8);
  for (const DrafterDescriptor* descriptor : drafters()) {
    if (descriptor->name != "ngram") continue;
    auto drafter = descriptor->make(engine);
    ASSERT_TRUE(drafter);
    Draft draft;
    (*drafter)->propose(std::vector<TokenId>{7, 8, 9, 1, 2, 7, 8}, 8, draft);
    EXPECT_EQ(draft.tokens, (std::vector<TokenId>{9, 1, 2, 7}));
    EXPECT_TRUE(draft.is_chain());
    draft.clear();
    (*drafter)->observe(4);
    (*drafter)->propose(std::vector<TokenId>{7, 8, 9, 1, 2, 7, 8, 5, 5}, 8, draft);
    EXPECT_EQ(draft.tokens, (std::vector<TokenId>{5, 5, 5, 5, 5, 5, 5, 5}));
    return;
  }
  FAIL() << "no drafter is called ngram";
}

TEST(NgramDrafter, PausesAfterProposalsThatFail) {
  fake::FakeEngine engine(26, 8);
  for (const DrafterDescriptor* descriptor : drafters()) {
    if (descriptor->name != "ngram") continue;
    auto drafter = descriptor->make(engine);
    int proposals = 0;
    std::vector<TokenId> text = {1, 1};
    for (int i = 0; i < 60; ++i) {
      Draft draft;
      (*drafter)->propose(text, 8, draft);
      if (draft.size() > 0) ++proposals, (*drafter)->observe(0);
      text.push_back(1);
    }
    EXPECT_LT(proposals, 15);
    EXPECT_GT(proposals, 3);
  }
}

}  // namespace
}  // namespace kinglet
