#include "base/process.h"

#include <gtest/gtest.h>

#include <chrono>

namespace kinglet {
namespace {

TEST(RunProcess, GivesStatusAndOutput) {
  const auto result = run_process({"sh", "-c", "echo out; echo err >&2; exit 7"});
  ASSERT_TRUE(result);
  EXPECT_EQ(result->status, 7);
  EXPECT_EQ(result->output, "out\nerr\n");
}

TEST(RunProcess, PassesArgumentsUntouched) {
  const auto result = run_process({"printf", "%s|", "a b", "$HOME", "*", ""});
  ASSERT_TRUE(result);
  EXPECT_EQ(result->output, "a b|$HOME|*||");
}

TEST(RunProcess, AddsVariablesAndChangesFolder) {
  const auto result =
      run_process({"sh", "-c", "echo $KINGLET_X; pwd"}, {.environment = {{"KINGLET_X", "7"}}, .folder = "/"});
  ASSERT_TRUE(result);
  EXPECT_EQ(result->output, "7\n/\n");
}

TEST(RunProcess, HasNoInput) { EXPECT_EQ(run_process({"cat"})->output, ""); }

TEST(RunProcess, KeepsOnlyTheEndOfLongOutput) {
  const auto result = run_process(
      {"sh", "-c",
       "i=0; while [ $i -lt 3000 ]; do echo 0123456789012345678901234567890123456789; i=$((i+1)); done; echo end"});
  ASSERT_TRUE(result);
  EXPECT_EQ(result->output.size(), 65536u);
  EXPECT_TRUE(result->output.ends_with("\nend\n"));
}

TEST(RunProcess, SaysWhenThereIsNoSuchProgram) {
  EXPECT_EQ(run_process({"kinglet-no-such-program"}).error().code, ErrorCode::kNotFound);
  EXPECT_EQ(run_process({"/etc/passwd"}).error().code, ErrorCode::kNotFound);
}

TEST(RunProcess, ReportsASignalAsStatus) { EXPECT_EQ(run_process({"sh", "-c", "kill -9 $$"})->status, 137); }

TEST(RunProcess, StopsWhatTheProgramStarted) {
  // The grandchild holds the pipe open: were it left running, nothing would be read to the end.
  const auto begin = std::chrono::steady_clock::now();
  int ticks = 0;
  const auto result = run_process({"sh", "-c", "sleep 60; true"}, {.tick = [&] { return ++ticks < 5; }});
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ErrorCode::kCancelled);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(30));
}

TEST(RunProcess, StopsWhenAsked) {
  const auto begin = std::chrono::steady_clock::now();
  const auto result = run_process({"sleep", "60"}, {.tick = [] { return false; }});
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ErrorCode::kCancelled);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(30));
}

}  // namespace
}  // namespace kinglet
