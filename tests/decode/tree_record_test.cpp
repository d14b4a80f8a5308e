// What trees learn: how often tokens of a confidence stand, and what a pass of the drafting model takes.
#include <gtest/gtest.h>

#include <cmath>

#include "decode/draft_shared.h"

namespace kinglet {
namespace {

/// Trees of one branch of six tokens, each of which its model gives `probability`, and of which `stand` stand.
TreeRecord after_trees(double probability, int stand) {
  TreeRecord record;
  for (int tree = 0; tree < 200; ++tree) {
    double expected = 0;
    for (int depth = 1; depth <= 6; ++depth) expected += std::pow(probability, depth * record.doubt);
    record.stood(expected, stand);
  }
  return record;
}

TEST(TreeRecord, DoubtFollowsWhatStands) {
  for (const int stand : {1, 2, 3, 4}) {
    const TreeRecord record = after_trees(0.5, stand);
    double expected = 0;
    for (int depth = 1; depth <= 6; ++depth) expected += std::pow(0.5, depth * record.doubt);
    EXPECT_NEAR(expected, stand, 0.05);
  }
  // What cannot be reached stays within bounds.
  EXPECT_DOUBLE_EQ(after_trees(0.5, 0).doubt, 2);
  EXPECT_DOUBLE_EQ(after_trees(0.5, 6).doubt, 0.1);
}

TEST(TreeRecord, OneSlowPassTellsLittle) {
  TreeRecord record;
  record.took(0.01);
  EXPECT_DOUBLE_EQ(record.seconds, 0.01);
  record.took(5);
  EXPECT_LT(record.seconds, 0.014);
  for (int i = 0; i < 100; ++i) record.took(0.02);
  EXPECT_NEAR(record.seconds, 0.02, 0.001);
}

}  // namespace
}  // namespace kinglet
