// A model made smaller: a recipe run over a checkpoint, resumable, with a file that appears whole or not at all.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "kinglet/convert.h"
#include "kinglet/recipe.h"
#include "kinglet/result.h"

namespace kinglet {

struct ShrinkOptions {
  std::string source;       ///< file or folder
  std::string source_name;  ///< what the user calls it, for the report; "": the file's name
  std::string output;       ///< the GGUF file to write
  Recipe recipe;
  int threads = 0;                 ///< 0: all cores
  std::uint64_t memory_bytes = 0;  ///< 0: half of what is free, at most 2 GiB
  bool report = true;              ///< measure source and result, and write OUT.report.html and OUT.report.json
  std::string command;             ///< for the report: how it was called
  std::string cache_folder;        ///< calibration that other runs can use again; "": in the work folder
  /// activity ("quantize", "writing"), done and total in parts of the whole
  std::function<void(std::string_view activity, std::uint64_t done, std::uint64_t total)> progress;
  std::function<bool()> cancelled;
  std::function<void(std::string_view)> note;
};

/// One tensor as it was and as it is (or will be).
struct ShrunkTensor {
  std::string name, from, to;
  std::vector<std::int64_t> shape;
  std::uint64_t bytes_before = 0, bytes = 0;
};

struct ShrinkPlan {
  Recipe recipe;  ///< with every choice of the planner made: run it, and no planner is asked
  std::uint64_t source_bytes = 0;
  std::uint64_t bytes = 0;  ///< of the file, exact
  BitCounts before, after;
  double predicted_kl = 0;  ///< by the planner for plain rounding (gptq has less), or by earlier results; 0: not known
  double predicted_cosine_distance = 0;  ///< the same for encoders: 1 - cosine to the source's embeddings, of any step
  int earlier_results = 0;               ///< of the same step and model, which have corrected the prediction
  double planned_loss = 0;               ///< the prediction before that; 0 where no step's types were chosen
  std::uint64_t memory_bytes = 0;        ///< predicted peak, pages of the source in use included
  double seconds = 0;                    ///< predicted work; 0: not known
  /// Predicted decode speed of source (measured) and result, from the times of matrices of their types on this machine;
  /// by plan_shrink alone, 0: not known
  double source_tokens_per_second = 0, tokens_per_second = 0;
  std::vector<ShrunkTensor> tensors;
  std::vector<std::string> notes;
};

struct ShrinkResult {
  std::string output;
  ShrinkPlan plan;
  std::string report;  ///< the HTML file; "" where there is none
  std::string table;   ///< the report for a terminal
  bool resumed = false;
};

/// What shrink() would do: nothing is written.
Result<ShrinkPlan> plan_shrink(const ShrinkOptions& options);

/// Runs the recipe. Finished tensors are kept in OUT.partial/, keyed by source, recipe, text and seed; the same call
/// goes on where a killed one was, with the same bytes at the end. Errors: those of open_checkpoint; kInvalidArgument
/// (recipe, targets that contradict each other or cannot be met), kUnsupported, kExhausted (disk, memory), kIo,
/// kCancelled.
Result<ShrinkResult> shrink(const ShrinkOptions& options);

}  // namespace kinglet
