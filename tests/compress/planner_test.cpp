// The types that a plan chooses among, and what it takes of them where time counts.
#include "compress/plan/planner.h"

#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "base/thread_pool.h"
#include "engine/tiny_model_helper.h"
#include "kinglet/recipe.h"

namespace kinglet {
namespace {

using Times = std::map<std::string, double>;  ///< picoseconds a weight

class Planner : public testing::Test {
 protected:
  Result<std::set<std::string>> planned(const std::string& step, double bits, const Times& picoseconds = {},
                                        double limit = 0) {
    auto recipe = parse_recipe("bits: " + std::to_string(bits) + "\nsteps:\n  - " + step + "\n", "r.yaml");
    if (!recipe) return tl::unexpected(recipe.error());
    recipe_ = *std::move(recipe);
    context_.source = source_.get();
    context_.recipe = &recipe_;
    context_.pool = &pool_;  // and no memory to run the model in: sensitivities go by the kind of matrix
    SpeedModel model;
    if (limit > 0) {
      auto times = nlohmann::json::array();
      for (const auto& [type, time] : picoseconds)
        for (const int columns : {96, 160, 192})
          times.push_back({{"type", type}, {"columns", columns}, {"picoseconds_a_weight", time}});
      model = {.times = *TypeTimes::parse(times.dump(), "times"), .source_seconds = 1, .scale = 1, .other_seconds = 0};
    }
    double weights = 0;
    for (const TensorInfo& tensor : source_->tensors())
      if (tensor.shape.size() >= 2 && multiplied_a_token(tensor.name, source_->find("output.weight") == nullptr))
        weights += static_cast<double>(tensor.elements());
    const TimeLimit time{&model, limit * 1e-12 * weights};
    auto made = plan_step(context_, recipe_, recipe_.steps.at(0), limit > 0 ? &time : nullptr);
    if (!made) return tl::unexpected(made.error());
    std::set<std::string> types;
    for (const RecipeNode& each : made->step.options.find("tensors")->items) types.insert(each.text);
    return types;
  }

  std::unique_ptr<Checkpoint> source_ = test::make_tiny_checkpoint({.type = "F32"});
  ThreadPool pool_{1};
  PassContext context_;
  Recipe recipe_;
};

TEST_F(Planner, ChoosesAmongTheTypesThatAStepLists) {
  for (const std::string pass : {"gptq", "quantize"}) {
    const auto listed = planned(pass + ": {among: [u2, u3, k4]}", 3.4);
    ASSERT_TRUE(listed) << listed.error().text();
    EXPECT_GE(listed->size(), 2u);
    for (const std::string& type : *listed) EXPECT_TRUE(type == "u2" || type == "u3" || type == "k4") << type;
    const auto usual = planned(pass + ": {}", 3.4);
    ASSERT_TRUE(usual) << usual.error().text();
    for (const std::string& type : *usual) EXPECT_FALSE(type.starts_with("u")) << type;
  }
}

TEST_F(Planner, WhatIsNoTypeIsNamedWithItsLine) {
  for (const std::string list : {"[k3, k99]", "[]"}) {
    const auto refused = planned("gptq: {among: " + list + "}", 4);
    ASSERT_FALSE(refused) << list;
    EXPECT_EQ(refused.error().code, ErrorCode::kInvalidArgument) << list;
    EXPECT_NE(refused.error().text().find("r.yaml:3"), std::string::npos) << refused.error().text();
  }
}

TEST_F(Planner, TakesASlowerTypeOnlyWhereItLosesLess) {
  // U3 has more bytes than K3 and loses more: worth choosing only while it is faster.
  const std::string step = "gptq: {among: [u3, k3, k4]}";
  const Times slow = {{"F32", 32}, {"K3", 4}, {"U3", 4.5}, {"K4", 6}},
              fast = {{"F32", 32}, {"K3", 4}, {"U3", 2}, {"K4", 6}};
  for (const double limit : {4.2, 5.0, 6.5}) {
    const auto types = planned(step, 5, slow, limit);
    ASSERT_TRUE(types) << types.error().text();
    EXPECT_FALSE(types->contains("u3")) << limit;
  }
  const auto types = planned(step, 5, fast, 3);
  ASSERT_TRUE(types) << types.error().text();
  EXPECT_TRUE(types->contains("u3"));
  const auto refused = planned(step, 5, slow, 3.5);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kQualityGate);
}

}  // namespace
}  // namespace kinglet
