// Targets that only measuring can tell: quality and speed. Sizes are tried until the target is met.
#pragma once

#include <vector>

#include "compress/job.h"

namespace kinglet {

/// One size that was tried.
struct Attempt {
  std::uint64_t to_bytes = 0;   ///< asked for
  std::uint64_t bytes = 0;      ///< of the file
  double kl = 0, kl_upper = 0;  ///< mean divergence on the held-out text, and the upper end of its 95 % interval
  double seconds = 0;           ///< a decoded token was allowed to take, as predicted
  double speed = 0;             ///< decode speed as a multiple of the source's, measured
};

struct Tries {
  std::vector<Attempt> attempts;
  std::uint64_t chosen = 0;  ///< bytes to ask for
};

/// The speed model of the source and of every type that the recipe may choose, from the folder's journal where it is
/// there: with the same journal the same choices are made.
Result<SpeedModel> speed_model_of(const Job& job, const Folder& folder);

/// The time limit to plan with so that the result decodes `speed` times as fast as the source: plans are made by the
/// model, rounded plainly (their speed is that of any rounding) and timed, until one is fast enough and the next slower
/// one is not. Timings are kept in the folder's journal. kQualityGate where nothing is fast enough.
struct SpeedTries {
  std::vector<Attempt> attempts;
  double seconds = 0;  ///< the limit
};
Result<SpeedTries> limit_for_speed(const Job& job, const Folder& folder, const SpeedModel& model, const Recipe& recipe);

/// The first limit that is tried.
double first_limit(const SpeedModel& model, double speed);

/// The smallest size, of those tried, whose divergence on the held-out text is below `kl` with its interval; its model
/// is left in folder/model.gguf. kQualityGate where `most_bytes` do not reach it.
Result<Tries> run_for_quality(const Job& job, const Recipe& recipe, const Folder& folder, double kl,
                              std::uint64_t most_bytes, const TimeLimit* limit, ShrinkPlan& plan);

/// A size to begin with, before anything is measured: what bits a weight usually give.
std::uint64_t first_size_for_kl(const Job& job, double kl);

}  // namespace kinglet
