// From a target to the options of a quantize step.
#pragma once

#include "compress/plan/choices.h"
#include "compress/plan/type_times.h"
#include "kinglet/pass.h"

namespace kinglet {

bool has_target(const Recipe& recipe);

/// What is done where a recipe has no steps.
std::vector<RecipeStep> usual_steps(const Checkpoint& source);

/// The same types by plain rounding: as fast to run, and faster to make.
RecipeStep plain_step(const RecipeStep& step);

/// Whether the planner has to choose the types of this step: a step that stores matrices in types
/// and names none for all, in a recipe with a target; or names one and searches from there.
bool needs_plan(const Recipe& recipe, const RecipeStep& step);

/// A step with its choices made.
struct PlannedStep {
  RecipeStep step;
  double loss = 0;  ///< predicted divergence with plain rounding, nats; only where sensitivities were measured
};

/// The most time that a decoded token may take, as predicted.
struct TimeLimit {
  const SpeedModel* model = nullptr;
  double seconds = 0;
};

/// The types that a plan of this step could choose, asked of a speed model.
Result<TypeTimes> candidate_times(PassContext& context, const RecipeStep& step);

/// The step with a type for every matrix, so that the file meets --to and --bits exactly at or under, and the time
/// limit (null: none) as predicted: a type that is slower and loses more than another is never chosen. Tensors that the
/// step's own patterns name keep those types. kInvalidArgument, with the nearest size that is possible, where a target
/// cannot be met.
Result<PlannedStep> plan_step(PassContext& context, const Recipe& recipe, const RecipeStep& step,
                              const TimeLimit* limit = nullptr);

}  // namespace kinglet
