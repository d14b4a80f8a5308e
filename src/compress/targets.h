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
  double speed = 0;             ///< decode speed as a multiple of the source's
};

struct Tries {
  std::vector<Attempt> attempts;
  std::uint64_t chosen = 0;  ///< bytes to ask for
};

/// The largest size at which the result decodes `speed` times as fast as the source, by timing results of plain
/// rounding (their speed is that of any rounding). Timings are kept in the folder's journal: with it, the same choice
/// is made. kQualityGate where no size is fast enough.
Result<Tries> size_for_speed(const Job& job, const Folder& folder, double speed, std::uint64_t most_bytes);

/// The smallest size, of those tried, whose divergence on the held-out text is below `kl` with its interval; its model
/// is left in folder/model.gguf. kQualityGate where `most_bytes` do not reach it.
Result<Tries> run_for_quality(const Job& job, const Recipe& recipe, const Folder& folder, double kl,
                              std::uint64_t most_bytes, ShrinkPlan& plan);

/// A size to begin with, before anything is measured: what bits a weight usually give.
std::uint64_t first_size_for_kl(const Job& job, double kl);

}  // namespace kinglet
