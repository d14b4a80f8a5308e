#include "base/environment.h"

#include <gtest/gtest.h>

#include <cstdlib>

namespace kinglet {
namespace {

class Environment : public testing::Test {
 protected:
  void SetUp() override {
    setenv("HOME", "/home/x", 1);
    unsetenv("XDG_DATA_HOME");
    unsetenv("XDG_CACHE_HOME");
    unsetenv("XDG_CONFIG_HOME");
  }
};

TEST_F(Environment, FallsBackToTheFoldersOfTheSpecification) {
  EXPECT_EQ(data_folder(), "/home/x/.local/share");
  EXPECT_EQ(cache_folder(), "/home/x/.cache");
  EXPECT_EQ(config_folder(), "/home/x/.config");
}

TEST_F(Environment, FollowsXdgAndIgnoresRelativeValues) {
  setenv("XDG_DATA_HOME", "/data", 1);
  setenv("XDG_CACHE_HOME", "relative", 1);
  EXPECT_EQ(data_folder(), "/data");
  EXPECT_EQ(cache_folder(), "/home/x/.cache");
}

TEST_F(Environment, FindsAHomeWithoutHome) {
  unsetenv("HOME");
  EXPECT_TRUE(home_folder().starts_with('/'));
  setenv("HOME", "", 1);
  EXPECT_TRUE(home_folder().starts_with('/'));
}

TEST_F(Environment, ExpandsOnlyALeadingTilde) {
  EXPECT_EQ(expand_home("~/m"), "/home/x/m");
  EXPECT_EQ(expand_home("~"), "/home/x");
  EXPECT_EQ(expand_home("a/~/b"), "a/~/b");
  EXPECT_EQ(expand_home("~other"), "~other");
}

TEST_F(Environment, IsEmptyForWhatIsUnset) { EXPECT_EQ(environment("KINGLET_NO_SUCH_VARIABLE"), ""); }

}  // namespace
}  // namespace kinglet
